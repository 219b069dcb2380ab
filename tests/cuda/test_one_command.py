"""What ``python -m benchmarks.cuda`` makes of the processes that it starts, all of them played."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pathcond_native import _core

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import cuda

ROOT = cuda.ROOT
READY = {"state": "ready", "detail": "", "device": "NVIDIA H100", "versions": {"torch": "2"}}
ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from benchmarks import cuda
print(json.dumps([cuda.state(), sorted({name.split(".")[0] for name in sys.modules})]))
"""


class Machine:
    """Answers to commands: the first that fits, a status and what is printed; all that was run."""

    def __init__(self):
        self.commands, self.states, self.answers = [], [READY], []
        self.without = set()

    def answer(self, status, printed, *words):
        self.answers.insert(0, (words, status, printed))

    def tool(self, name):
        return None if name in self.without else f"/toolkit/bin/{name}"

    def run(self, command, **options):
        words = [str(word) for word in command]
        self.commands.append((words, options["env"]))
        if "-c" in words:
            answer = 0, json.dumps(self.states.pop(0))
        else:
            answer = next(rest for asked, *rest in self.answers if set(asked) <= set(words))
        return subprocess.CompletedProcess(command, *answer, "the reason\n")

    def ran(self, *words):
        return [command for command, _ in self.commands if set(words) <= set(command)]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A device on which all goes well, and a folder for the results."""
    machine = Machine()
    monkeypatch.setattr(cuda, "tool", machine.tool)
    monkeypatch.setattr(cuda.subprocess, "run", machine.run)
    monkeypatch.setattr(cuda, "RESULTS", tmp_path / "cuda.json")
    machine.answer(0, "", "/toolkit/bin/nvcc")
    machine.answer(0, "", "pip")
    machine.answer(0, "... [100%]\n27 passed, 1 skipped in 3 s\n", "pytest")
    machine.answer(0, "copy\nresnet50\n", "benchmarks.cuda_measurements")
    for name in ("copy", "resnet50"):
        machine.answer(0, 'noise\n{"seconds": 1}\n', "benchmarks.cuda_measurements", name)
    machine.answer(0, "", "sound")
    for name in ("beyond", "race", "parting"):
        machine.answer(9, "", name)
    return machine


def written():
    return json.loads(cuda.RESULTS.read_text())


def test_all_is_well(machine, capsys):
    assert cuda.main() == 0
    facts = written()
    assert facts["passed"] and facts["failed"] == []
    assert facts["device"] == "NVIDIA H100" and facts["date"].count("-") == 2
    assert facts["tests"] == {
        "plain": "27 passed, 1 skipped in 3 s",
        **{
            name: outcome
            for tool in ("memcheck", "racecheck", "synccheck")
            for name, outcome in (
                (f"{tool} of a planted mistake", "reported"),
                (tool, "27 passed, 1 skipped in 3 s"),
            )
        },
    }
    assert facts["measurements"] == {"copy": {"seconds": 1}, "resnet50": {"seconds": 1}}
    assert not machine.ran("pip") and "all passed" in capsys.readouterr().out


def test_planted_mistakes_are_looked_for_as_others_are(machine):
    assert cuda.main() == 0
    for tool, mistake in (("memcheck", "beyond"), ("racecheck", "race"), ("synccheck", "parting")):
        planted, sound, tests = machine.ran("/toolkit/bin/compute-sanitizer", tool)
        options = planted[: planted.index(mistake) - 1]
        assert planted[len(options) :] == [sound[-2], mistake] and sound[-1] == "sound"
        assert sound[: len(options)] == tests[: len(options)] == options
        assert "kns=run_kernel" in options and tests[len(options)] == sys.executable


@pytest.mark.parametrize(
    ("failing", "answer"),
    [
        ("tests: plain", (1, "FAILED test_rows\n1 failed, 26 passed\n", "pytest")),
        ("tests: plain", (0, "28 skipped\n", "pytest")),
        ("tests: plain", (-11, "", "pytest")),
        ("tests: memcheck", (9, "27 passed\nERROR SUMMARY: 1 error\n", "memcheck", "pytest")),
        ("tests: racecheck of a planted mistake", (0, "0 hazards", "race")),
        ("tests: synccheck of a planted mistake", (9, "1 error", "synccheck", "sound")),
        ("tests: planted mistakes", (2, "error", "/toolkit/bin/nvcc")),
        ("measurements: resnet50", (1, "AssertionError\n", "resnet50")),
        ("measurements: names", (1, "ImportError\n", "benchmarks.cuda_measurements")),
    ],
)
def test_what_fails_is_written_and_the_rest_runs(failing, answer, machine, capsys):
    machine.answer(*answer)
    assert cuda.main() == 1
    facts = written()
    assert not facts["passed"] and failing in facts["failed"]
    part, name = failing.split(": ")
    outcome = facts[part][name]
    how = outcome[0] if isinstance(outcome, list) else outcome
    assert how == {
        "exit_status": answer[0],
        "closing_lines": [*answer[1].splitlines(), "the reason"],
    }
    assert "the reason" in capsys.readouterr().err
    assert "racecheck" in facts["tests"]
    if part == "tests":
        assert facts["measurements"] == {"copy": {"seconds": 1}, "resnet50": {"seconds": 1}}


def test_what_an_interrupted_run_has_found_is_written(machine, monkeypatch):
    run = machine.run

    def interrupted(command, **options):
        if "resnet50" in command:
            raise KeyboardInterrupt
        return run(command, **options)

    monkeypatch.setattr(cuda.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cuda.main()
    facts = written()
    assert not facts["passed"] and facts["measurements"] == {"copy": {"seconds": 1}}


def test_without_compute_sanitizer(machine):
    machine.without = {"compute-sanitizer"}
    assert cuda.main() == 0
    assert written()["tests"]["compute-sanitizer"].startswith("not run")


@pytest.mark.parametrize("wanting", ["not installed", "not built"])
@pytest.mark.parametrize("network", [True, False])
def test_what_is_wanting_is_built(wanting, network, machine, capsys):
    machine.states = [{"state": wanting, "detail": ""}, READY]
    if not network:
        machine.answer(1, "", "pip", ".[torch,test]")
    assert cuda.main() == 0 and written()["passed"]
    ((command, environment), *again) = [x for x in machine.commands if "pip" in x[0]]
    assert {".[torch,test]", "cmake.define.PATHCOND_CUDA=ON"} <= set(command)
    assert environment["CUDACXX"] == "/toolkit/bin/nvcc"
    assert len(again) == (0 if network else 1)
    assert network or {"--no-build-isolation", "--no-deps", "."} <= set(again[0][0])
    assert ("want of a network" in capsys.readouterr().out) is not network


@pytest.mark.parametrize(
    ("found", "nvcc", "status", "said"),
    [
        ({"state": "no CUDA device", "detail": "torch 2 sees none"}, True, 0, "torch 2 sees none"),
        ({"state": "not installed", "detail": "_core"}, False, 1, "nvcc is neither in PATH nor in"),
        ({"state": "not built", "detail": ""}, False, 1, "nvcc is neither in PATH nor in"),
        ({"state": "driver too old", "detail": "it supports 11.0"}, True, 1, "it supports 11.0"),
        ({"state": "torch cannot be imported", "detail": "no torch"}, True, 1, "no torch"),
    ],
)
def test_nothing_is_done_where_nothing_can_be(found, nvcc, status, said, machine, capsys):
    machine.states, machine.without = [found], set() if nvcc else {"nvcc"}
    assert cuda.main() == status
    assert len(machine.commands) == 1 and not cuda.RESULTS.exists()
    out = capsys.readouterr().out
    assert out.startswith(f"Nothing done: {found['state']}: ") and said in out


def test_a_build_that_fails_ends_it(machine, capsys):
    machine.states = [{"state": "not built", "detail": ""}] * 2
    machine.answer(1, "", "pip")
    assert cuda.main() == 1
    assert len(machine.ran("pip")) == 2 and not machine.ran("pytest")
    assert "Nothing done: not built\n" in capsys.readouterr().out


def test_the_state_of_this_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.state() == {
        "state": "no CUDA device",
        "detail": f"torch {torch.__version__} sees none",
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(_core, "cuda_status", lambda: ("ready", ""))
    found = cuda.state()
    assert (found["state"], found["device"]) == ("ready", "NVIDIA H100")
    assert found["versions"]["torch"] == torch.__version__
    json.dumps(found)


def test_it_asks_in_a_process_of_its_own():
    assert cuda.asked() == cuda.state()


def test_it_begins_with_the_standard_library_alone(tmp_path):
    def alone(path):
        command = [sys.executable, "-I", "-S", "-c", ALONE, path]
        return json.loads(subprocess.check_output(command, text=True))

    state, imported = alone(str(ROOT))
    assert state["state"] == "torch cannot be imported"
    assert not {"numpy", "scipy", "torch", "pathcond_native"} & set(imported)


def test_sources_that_are_not_built_are_told_from_no_device(tmp_path):
    """A fresh clone beside a torch that sees a device."""
    for name in ("benchmarks", "pathcond_native"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "results")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    (tmp_path / "torch.py").write_text(
        "class cuda:\n    @staticmethod\n    def is_available(): return True\n"
    )
    command = [sys.executable, "-I", "-S", "-c", ALONE, tmp_path]
    state, _ = json.loads(subprocess.check_output(command, text=True))
    assert state["state"] == "not installed" and "_core" in state["detail"]


@pytest.mark.skipif(cuda.tool("nvcc") is None, reason="no nvcc")
def test_planted_mistakes_compile(tmp_path):
    program = tmp_path / "planted"
    subprocess.run([cuda.tool("nvcc"), *cuda.PLANTED, "-o", program], cwd=ROOT, check=True)
    # Errors of CUDA, here that there may be no device, are no exit status: see there.
    subprocess.run([program, "sound"], check=True)
