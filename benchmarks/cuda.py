"""``python -m benchmarks.cuda``: everything that needs a CUDA device, in one command.

On a fresh clone, with a torch that sees the device and nvcc: builds and installs the package; runs
the tests marked ``cuda``, again under compute-sanitizer (memcheck, racecheck, synccheck) where that
is installed, which first has to report bugs planted in kernels; measures. All goes to
``results/cuda.json`` as it is found, with the device's name and the date, failures too; the exit
status tells of them. Without a device it says so and does nothing.
"""

from __future__ import annotations

import datetime
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

# Nothing but Python's own: the rest may have to be installed first.

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "cuda.json"
SMALL = "every_kind or biases or neuron or errors or absorbed or mlp or sweeps or columns or rows"
INSTALL = ["-m", "pip", "install", "-e", ".[torch,test]", "-C", "cmake.define.PATHCOND_CUDA=ON"]
INSTALL += ["-C", "cmake.define.CMAKE_CUDA_FLAGS=-lineinfo"]  # compute-sanitizer then names lines
WITHOUT_INDEX = ["--no-build-isolation", "--no-deps"]
MISSING = ("not installed", "not built")
REMEDY = (
    "nvcc is neither in PATH nor in $CUDA_HOME/bin; once it is, run this again, or python "
    + shlex.join(INSTALL)
)
SANITIZERS = {
    # torch asks the driver for more than it has, and copes; all that our calls return is checked.
    "memcheck": ["--report-api-errors", "no"],
    "racecheck": [],
    "synccheck": [],
}
PLANTED = ("memcheck", "racecheck")
"""Tools for which `tests/cuda/planted.cu` has a bug."""
REPORTED = 9
"""Exit status of compute-sanitizer where it has reported something."""
OURS = ["--kernel-regex", "kns=run_kernel"]
"""All kernels of this package, none of torch's."""
Facts = dict[str, Any]


def main(*, build: bool = True) -> int:
    """Build if that is wanting, test, measure; the exit status."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed; nothing done.")
        return 1
    state, detail = status()
    if build and state in MISSING and torch.cuda.is_available() and (nvcc := tool("nvcc")):
        return built(nvcc)
    if state == "ready" and not torch.cuda.is_available():
        state, detail = "torch sees none", f"torch {torch.__version__}"
    if state != "ready":
        reason = ": ".join(filter(None, (state, detail or (REMEDY if state in MISSING else ""))))
        print(f"No CUDA device to run on ({reason}); nothing done.")
        return 0
    facts: Facts = {
        "device": torch.cuda.get_device_name(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "versions": {
            "pathcond-native": import_module("pathcond_native").__version__,
            "torch": torch.__version__,
            "torch's CUDA": torch.version.cuda,
            "python": sys.version.split()[0],
        },
    }
    return recorded(facts, checks(), measurements)


def status() -> tuple[str, str]:
    """What stands between this installation and a device."""
    try:
        from pathcond_native import _core
    except ImportError:
        return "not installed", ""
    return _core.cuda_status()


def tool(name: str) -> str | None:
    """Where a tool of the CUDA toolkit is."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    return shutil.which(name) or shutil.which(name, path=str(toolkit))


def built(nvcc: str) -> int:
    """Installs with the backend, then does all else in a new process; its exit status."""

    def python(*arguments: str) -> int:
        environment = {**os.environ, "CUDACXX": nvcc}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    if failed := python(*INSTALL):
        print("Once more, with what is installed already:", *WITHOUT_INDEX)
        failed = python(*INSTALL, *WITHOUT_INDEX)
    again = "import sys; from benchmarks.cuda import main; sys.exit(main(build=False))"
    return failed or python("-c", again)


def measurements() -> dict[str, Callable[[], Facts]]:
    return import_module("benchmarks.cuda_measurements").measurements()


class CheckError(Exception):
    """What was run failed, or reported nothing where it had to."""


def checks() -> Iterable[tuple[str, Callable[[], str]]]:
    """The tests, plain and under compute-sanitizer, and what that has to report."""
    yield "plain", lambda: tested([], os.environ)
    sanitizer, nvcc = tool("compute-sanitizer"), tool("nvcc")
    if sanitizer is None:
        return
    # Every piece of memory an allocation of its own, so that none hides behind another.
    alone = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for name, options in SANITIZERS.items():
        command = [sanitizer, "--tool", name, "--error-exitcode", str(REPORTED), *options, *OURS]
        if nvcc is not None and name in PLANTED:
            yield f"{name} of planted bugs", lambda c=command, n=name: reported(c, n, nvcc)
        yield name, lambda c=command: tested(c, alone)


def tested(command: list[str], environment: Any) -> str:
    """The closing line of the tests, which some command runs."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/cuda/test_on_device.py"]
    if command:
        pytest += ["-k", SMALL]
    done = run([*command, *pytest], env=environment)
    lines = [x for x in done.stdout.splitlines() if " passed" in x or " failed" in x]
    # All may have been skipped.
    if done.returncode != 0 or not lines or " passed" not in lines[-1]:
        raise CheckError(f"{done.stdout}\n{done.stderr}")
    return lines[-1]


def reported(command: list[str], bug: str, nvcc: str) -> str:
    """Whether compute-sanitizer reports a bug planted in a kernel, and nothing of a sound one."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "planted")
        compiled = run([*compile_planted(nvcc), "-arch=native", "-lineinfo", "-o", program])
        if compiled.returncode != 0:
            raise CheckError(compiled.stderr)
        for name, expected in (("sound", 0), (bug, REPORTED)):
            done = run([*command, program, name])
            if done.returncode != expected:
                raise CheckError(f"{name}: expected exit status {expected}\n{done.stdout}")
    return "reported"


def compile_planted(nvcc: str) -> list[str]:
    include = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'include'}"]
    source = str(ROOT / "tests" / "cuda" / "planted.cu")
    return [nvcc, "-std=c++20", "--expt-relaxed-constexpr", *include, source]


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def recorded(
    facts: Facts,
    checks: Iterable[tuple[str, Callable[[], str]]],
    measurements: Callable[[], dict[str, Callable[[], Facts]]],
) -> int:
    """Writes what checks and measurements come to, after each of them; 1 if any failed."""
    failed: list[str] = []
    found: dict[str, Facts] = {"tests": {}, "measurements": {}}

    def take(kind: str, name: str, run: Callable[[], Any]) -> Any:
        try:
            found[kind][name] = result = run()
        except Exception as error:
            traceback.print_exc()
            failed.append(name)
            found[kind][name] = {"failed": f"{type(error).__name__}: {error}"[-2000:]}
            result = {}
        print(f"{name}: {json.dumps(found[kind][name])}", flush=True)
        text = json.dumps({**facts, "failed": failed, **found}, indent=2)
        RESULTS.write_text(text + "\n", encoding="utf-8")
        return result

    for name, check in checks:
        take("tests", name, check)
    # A list of names, to say in the file what there is to come.
    listed: dict[str, Callable[[], Facts]] = {}
    take("measurements", "setting up", lambda: listed.update(measurements()) or list(listed))
    for name, measure in listed.items():
        take("measurements", name, measure)
    if failed:
        print("Failed:", *failed, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
