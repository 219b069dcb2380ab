"""The C++ and C library, built and installed once, static and shared.

PATHCOND_NATIVE names a folder where that has been done already.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from toolchain import MISSING, build, run

sys.path.insert(0, str(Path(__file__).parents[1]))

KINDS = ("static", "shared")


@dataclass(frozen=True)
class Library:
    """One way in which the library has been built."""

    embedding: Path
    """The program `embedding/check.cpp`."""
    prefix: Path
    """Where it is installed."""


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """Library by "static" and "shared"; both are linked from the same objects."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    if built := os.environ.get("PATHCOND_NATIVE"):
        folder = Path(built)
        return {kind: Library(folder / f"check-{kind}", folder / kind) for kind in KINDS}
    folder = tmp_path_factory.mktemp("native")
    source = Path(__file__).parent / "embedding"
    found = {}
    for kind in KINDS:
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


@pytest.fixture(params=KINDS)
def library(libraries, request):
    return libraries[request.param]
