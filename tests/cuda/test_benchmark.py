"""``python -m benchmarks.cuda``: what it does where a device, a build or a tool is wanting."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import cuda

ROOT = cuda.ROOT


def done(status, printed=""):
    return subprocess.CompletedProcess([], status, printed, "")


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda, "RESULTS", tmp_path / "cuda.json")
    return lambda: json.loads((tmp_path / "cuda.json").read_text())


@pytest.fixture
def device(monkeypatch):
    """Torch sees a device, and the toolkit is installed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "the host")
    monkeypatch.setattr(cuda, "tool", lambda name: f"/toolkit/bin/{name}")


def test_nothing_has_to_be_installed_before():
    program = "import sys; import benchmarks.cuda; print('numpy' in sys.modules)"
    alone = [sys.executable, "-S", "-E", "-c", program]
    assert subprocess.run(alone, cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (("no driver", ""), "no driver"),
        (("driver too old", "it supports 11.0"), "driver too old: it supports 11.0"),
        (("not built", ""), "not built: nvcc is neither in PATH nor in"),
        (("not installed", ""), "not installed: nvcc is neither in PATH nor in"),
        (("ready", "NVIDIA H100"), f"torch sees none: torch {torch.__version__}"),
    ],
)
def test_without_a_device(status, reason, capsys, monkeypatch):
    monkeypatch.setattr(cuda, "checks", lambda: pytest.fail("tests were run"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "status", lambda: status)
    assert cuda.main() == 0
    assert capsys.readouterr().out.startswith(f"No CUDA device to run on ({reason}")


def test_a_package_that_is_not_installed(monkeypatch):
    assert cuda.status() != ("not installed", "")
    monkeypatch.setitem(sys.modules, "pathcond_native", None)
    assert cuda.status() == ("not installed", "")


@pytest.mark.parametrize("state", cuda.MISSING)
@pytest.mark.parametrize(
    ("exits", "steps", "expected"),
    [
        ([0, 3], ["install", "again"], 3),
        ([1, 0, 0], ["install", "offline", "again"], 0),
        ([1, 2], ["install", "offline"], 2),
    ],
)
def test_what_is_missing_is_built(state, exits, steps, expected, device, monkeypatch):
    monkeypatch.setattr(cuda, "status", lambda: (state, ""))
    run = []

    def played(command, **options):
        assert options["env"]["CUDACXX"] == "/toolkit/bin/nvcc" and options["cwd"] == ROOT
        run.append(
            "again" if command[1] == "-c" else "offline" if "--no-deps" in command else "install"
        )
        return done(exits[len(run) - 1])

    monkeypatch.setattr(cuda.subprocess, "run", played)
    assert cuda.main() == expected and run == steps
    assert cuda.main(build=False) == 0 and run == steps, "no second attempt"


@pytest.mark.parametrize(
    ("result", "sound"),
    [
        (done(0, "...\n3 passed, 1 skipped in 2s\n"), True),
        (done(1, "...\n1 failed, 3 passed in 2s\n"), False),
        (done(0, "...\n4 skipped in 2s\n"), False),
        (done(9, "...\n4 passed in 2s\nERROR SUMMARY: 1 error\n"), False),
        (done(4), False),
    ],
)
def test_tests(result, sound, monkeypatch):
    monkeypatch.setattr(cuda, "run", lambda command, **_: result)
    if sound:
        assert cuda.tested([], {}) == "3 passed, 1 skipped in 2s"
    else:
        with pytest.raises(cuda.CheckError):
            cuda.tested(["compute-sanitizer"], {})


@pytest.mark.parametrize(
    ("exits", "sound"), [([0, 0, 9], True), ([0, 0, 0], False), ([0, 9], False), ([1], False)]
)
def test_planted_bugs_have_to_be_reported(exits, sound, device, monkeypatch):
    """Of compiling, the sound kernel, and the bug."""
    left = iter(exits)
    monkeypatch.setattr(cuda, "run", lambda command, **_: done(next(left)))
    listed = dict(cuda.checks())
    if sound:
        assert listed["memcheck of planted bugs"]() == "reported"
    else:
        with pytest.raises(cuda.CheckError):
            listed["racecheck of planted bugs"]()
    assert next(left, None) is None


def test_planted_bugs_compile(tmp_path):
    if not (nvcc := shutil.which("nvcc")):
        pytest.skip("no nvcc")
    made = cuda.run([*cuda.compile_planted(nvcc), "-arch=sm_80", "-o", str(tmp_path / "planted")])
    assert made.returncode == 0, made.stderr


def test_all_that_is_found_is_written(device, results, monkeypatch):
    def fails():
        raise AssertionError("1e-9 > 1e-10")

    monkeypatch.setattr(cuda, "status", lambda: ("ready", "the host"))
    monkeypatch.setattr(cuda, "checks", lambda: [("plain", lambda: "3 passed")])
    monkeypatch.setattr(
        cuda, "measurements", lambda: {"bad": fails, "good": lambda: {"seconds": 1.0}}
    )
    assert cuda.main() == 1
    found = results()
    assert (found["device"], found["failed"]) == ("the host", ["bad"])
    assert found["tests"] == {"plain": "3 passed"}
    assert found["measurements"]["good"] == {"seconds": 1.0}
    assert found["measurements"]["bad"] == {"failed": "AssertionError: 1e-9 > 1e-10"}

    monkeypatch.setattr(cuda, "checks", lambda: [("plain", fails)])
    monkeypatch.setattr(cuda, "measurements", lambda: {})
    assert cuda.main() == 1 and results()["failed"] == ["plain"]
    monkeypatch.setattr(cuda, "checks", lambda: [])
    assert cuda.main() == 0 and results()["failed"] == []
    monkeypatch.setattr(cuda, "measurements", fails)
    assert cuda.main() == 1 and results()["failed"] == ["setting up"]


def test_what_a_crash_leaves(device, results, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    listed = {"good": lambda: {"seconds": 1.0}, "endless": interrupt}
    with pytest.raises(KeyboardInterrupt):
        cuda.recorded({}, [("plain", lambda: "3 passed")], lambda: listed)
    assert results()["measurements"] == {"setting up": list(listed), "good": {"seconds": 1.0}}


def test_the_command(monkeypatch, tmp_path):
    """As users type it, on this machine: with a device it takes minutes, and is not run here."""
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.cuda"], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode == 0 and said.stdout.startswith("No CUDA device to run on"), said
