"""The C++ and C library, built and installed once, static and shared."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from toolchain import MISSING, build, run

sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Library:
    """One way in which the library has been built."""

    embedding: Path
    """The program that was built together with it."""
    prefix: Path
    """Where it is installed."""


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """Library by "static" and "shared"; both are linked from the same objects."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    folder = tmp_path_factory.mktemp("native")
    source = Path(__file__).parent / "embedding"
    found = {}
    for kind in ("static", "shared"):
        shared = "ON" if kind == "shared" else "OFF"
        build(
            source,
            folder / "build",
            "-DCMAKE_CXX_FLAGS=-O1",
            "-DPATHCOND_INSTALL=ON",
            f"-DBUILD_SHARED_LIBS={shared}",
        )
        run("cmake", "--install", folder / "build", "--prefix", folder / kind)
        program = shutil.copy(folder / "build" / "check", folder / f"check-{kind}")
        found[kind] = Library(Path(program), folder / kind)
    return found


@pytest.fixture(params=["static", "shared"])
def library(libraries, request):
    return libraries[request.param]
