"""Whether a build has the CUDA backend: with and without nvcc. Configured, not compiled."""

import shutil
import subprocess
from pathlib import Path

import pytest
from native.toolchain import PATH

ROOT = Path(__file__).parents[2]


@pytest.fixture
def configure(tmp_path):
    """Runs CMake in one folder, with nvcc hidden or named; what it prints."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cmake", "g++", "gcc", "ninja", "as", "ld", "ar", "ranlib"):
        if (found := shutil.which(name, path=PATH)) is None:
            pytest.skip(f"no {name}")
        (tools / name).symlink_to(Path(found).resolve())

    def run(*options, nvcc=None):
        command = [tools / "cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path / "build", *options]
        environment = {"PATH": str(tools), **({"CUDACXX": nvcc} if nvcc else {})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def test_without_nvcc(configure):
    status, said = configure("-DPATHCOND_CUDA=AUTO")
    assert status == 0 and "CUDA backend: OFF" in said
    status, said = configure("-DPATHCOND_CUDA=ON")
    assert status == 1 and "PATHCOND_CUDA=ON, but no nvcc from version 12 on was found" in said
    status, said = configure("-DPATHCOND_CUDA=OFF")
    assert status == 0 and "CUDA backend: OFF" in said


@pytest.mark.parametrize("later", ["AUTO", "ON"])
def test_nvcc_that_came_later(later, configure):
    if not (nvcc := shutil.which("nvcc")):
        pytest.skip("no nvcc")
    assert "CUDA backend: OFF" in configure("-DPATHCOND_CUDA=AUTO")[1]
    status, said = configure(f"-DPATHCOND_CUDA={later}", nvcc=nvcc)
    assert status == 0 and "CUDA backend: ON" in said
