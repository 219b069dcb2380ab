"""``python -m benchmarks.cuda``: everything that needs a CUDA device, in one command.

It needs a torch that sees the device. Where the package is not installed, or was built without
CUDA, and nvcc is there, it is installed. The tests marked ``cuda`` are run, again under
compute-sanitizer (memcheck, racecheck, synccheck) where the CUDA toolkit has it, each of whose
tools has to report a planted mistake; then all is measured (`cuda_measurements`), each in a process
of its own. ``results/cuda.json`` has the device's name, the date, and what became of each, from the
first on. What fails keeps nothing else from being run, is named there and makes the exit status 1.
Without a device it says so and does nothing.

Nothing but the standard library is imported: there may be nothing else yet.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

Facts = dict[str, Any]
Outcome = tuple[str, Any, bool]
"""A name, what is to be written of it, and whether it passed."""
Done = subprocess.CompletedProcess[str]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cuda.json"
READY, NO_DEVICE = "ready", "no CUDA device"
SETTINGS = ["-C", "cmake.define.PATHCOND_CUDA=ON"]
SETTINGS += ["-C", "cmake.define.CMAKE_CUDA_FLAGS=-lineinfo"]  # compute-sanitizer then names lines
TESTS = ["-m", "pytest", "-q", "-m", "cuda", "tests/cuda/test_on_device.py"]
SMALL = "every_kind or biases or neuron or errors or absorbed or mlp or sweeps or columns or rows"
OURS = ["--kernel-regex", "kns=run_kernel"]
"""All kernels of this package, none of torch's."""
ALONE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
"""Every piece of memory is an allocation of its own, so that none hides behind another."""
REPORTED = 9
"""The exit status where a tool has something to report, and the process ended well."""
SANITIZERS = {
    # torch asks the driver for more than it has, and copes; all that our calls return is checked.
    "memcheck": (["--report-api-errors", "no"], "beyond"),
    "racecheck": ([], "race"),
    "synccheck": ([], "parting"),
}
"""The options of each, and which kernel of `PLANTED` it has to report."""
PLANTED = ["-std=c++20", "--expt-relaxed-constexpr", "-lineinfo", "-arch=sm_80"]
PLANTED += ["-Icsrc", "-Icsrc/include", "tests/cuda/planted.cu"]


def main() -> int:
    """Build if that is wanting, test, measure, write; 0 if all passed or there is no device."""
    found = asked()
    if found["state"] in ("not installed", "not built"):
        if nvcc := tool("nvcc"):
            build(nvcc)
            found = asked()
        else:
            found["detail"] = "nvcc is neither in PATH nor in $CUDA_HOME/bin"
    state, detail = found.pop("state"), found.pop("detail")
    if state != READY:
        print(f"Nothing done: {': '.join(filter(None, (state, detail)))}")
        return 0 if state == NO_DEVICE else 1
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    facts: Facts = {**found, "date": today, "passed": False, "failed": []}
    for part, outcomes in (("tests", tests()), ("measurements", measurements())):
        facts[part] = {}
        for name, outcome, passed in outcomes:
            facts[part][name] = outcome
            if not passed:
                facts["failed"].append(f"{part}: {name}")
            print(f"{name}: {json.dumps(outcome) if passed else 'FAILED'}", flush=True)
            write(facts)
    facts["passed"] = not facts["failed"]
    write(facts)
    print(f"{RESULTS}:", *(facts["failed"] or ["all passed"]), sep="\n  ")
    return 0 if facts["passed"] else 1


def state() -> Facts:
    """What is between this package and a device, and what they are."""
    try:
        import torch
    except ImportError as error:
        return {"state": "torch cannot be imported", "detail": str(error)}
    if not torch.cuda.is_available():
        return {"state": NO_DEVICE, "detail": f"torch {torch.__version__} sees none"}
    try:
        import pathcond_native as pc
        from pathcond_native import _core
    except ImportError as error:
        return {"state": "not installed", "detail": str(error)}
    state, detail = _core.cuda_status()
    return {
        "state": state,
        "detail": detail,
        "device": torch.cuda.get_device_name(),
        "versions": {
            "pathcond-native": pc.__version__,
            "torch": torch.__version__,
            "torch's CUDA": torch.version.cuda,
            "python": sys.version.split()[0],
        },
    }


def asked() -> Facts:
    """`state`, in a new process: one that runs would not see what it has installed."""
    code = "import json; from benchmarks.cuda import state; print(json.dumps(state()))"
    done = run(sys.executable, "-c", code)
    return printed(done) or {"state": "failed", "detail": done.stderr}


def tool(name: str) -> str | None:
    """Where a tool of the CUDA toolkit is."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    return shutil.which(name) or shutil.which(name, path=str(toolkit))


def build(nvcc: str) -> None:
    """Install with the backend, from what is on this machine where there is no network."""
    if not install(nvcc, ".[torch,test]"):
        print("That failed. In case it was for want of a network, again with what is installed:")
        install(nvcc, ".", "--no-build-isolation", "--no-deps")


def install(nvcc: str, *what: str) -> bool:
    """One attempt, for all to see."""
    command = [sys.executable, "-m", "pip", "install", *SETTINGS, "-e", *what]
    print(shlex.join(command), flush=True)
    environment = {**os.environ, "CUDACXX": nvcc}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def tests() -> Iterator[Outcome]:
    """The tests, plain and under each tool of compute-sanitizer, after a planted mistake."""
    pytest = [sys.executable, *TESTS]
    yield tested("plain", run(*pytest))
    sanitizer, nvcc = tool("compute-sanitizer"), tool("nvcc")
    if not (sanitizer and nvcc):
        yield "compute-sanitizer", "not run: it or nvcc is not there", True
        return
    with TemporaryDirectory() as folder:
        program = str(Path(folder, "planted"))
        compiled = run(nvcc, *PLANTED, "-o", program)
        if compiled.returncode != 0:
            yield "planted mistakes", failure(compiled), False
        for name, (options, mistake) in SANITIZERS.items():
            command = [sanitizer, "--tool", name, "--error-exitcode", str(REPORTED)]
            command += [*options, *OURS]
            if compiled.returncode == 0:
                yield seen(name, *(run(*command, program, x) for x in (mistake, "sound")))
            yield tested(name, run(*command, *pytest, "-k", SMALL, **ALONE))


def tested(name: str, done: Done) -> Outcome:
    """The line in which pytest counts; all may have been skipped, which is no pass."""
    counts = [line for line in done.stdout.splitlines() if " passed" in line]
    passed = done.returncode == 0 and bool(counts)
    return name, counts[-1] if passed else failure(done), passed


def seen(name: str, planted: Done, sound: Done) -> Outcome:
    """Whether a tool reports the kernel with a mistake, and only that."""
    wrong = [
        failure(done)
        for done, expected in ((planted, REPORTED), (sound, 0))
        if done.returncode != expected
    ]
    return f"{name} of a planted mistake", wrong or "reported", not wrong


def measurements() -> Iterator[Outcome]:
    """Each in a new process: an error on a device lasts as long as the process."""
    program = [sys.executable, "-m", "benchmarks.cuda_measurements"]
    names = run(*program)
    if names.returncode != 0:
        yield "names", failure(names), False
        return
    for name in names.stdout.splitlines():
        done = run(*program, name)
        found = printed(done)
        yield name, found or failure(done), found is not None


def run(*command: str, **environment: str) -> Done:
    """A process at the root of the repository."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def printed(done: Done) -> Facts | None:
    """The JSON in the last line, if the process ended well."""
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def failure(done: Done) -> Facts:
    """How a process ended; all that it said is printed."""
    print(done.stdout, done.stderr, sep="\n", file=sys.stderr, flush=True)
    lines = [line for text in (done.stdout, done.stderr) for line in text.splitlines()[-30:]]
    return {"exit_status": done.returncode, "closing_lines": lines}


def write(facts: Facts) -> None:
    """Written anew after every step, so that nothing is lost with those to come."""
    RESULTS.parent.mkdir(exist_ok=True)  # an sdist has none
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
