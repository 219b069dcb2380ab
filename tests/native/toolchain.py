"""CMake and compilers, where they are installed."""

import os
import shlex
import shutil
import subprocess
import sysconfig

# The test extra brings cmake and ninja.
PATH = sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"]
ENVIRONMENT = {
    "CMAKE_BUILD_PARALLEL_LEVEL": str(len(os.sched_getaffinity(0))),
    # What a sanitizer needs for Python's sake is not for compilers, nor for what they make.
    **{k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS")},
    "PATH": PATH,
}
C_COMPILER = [os.environ.get("CC", "cc"), *shlex.split(os.environ.get("CFLAGS", ""))]
MISSING = [
    tool for tool in ("cmake", "ninja", "cc", "c++") if shutil.which(tool, path=PATH) is None
]


def run(*command):
    """What the command printed."""
    result = subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def build(source, where, *definitions):
    """Configures and builds a CMake project."""
    more = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=None", *definitions, *more]
    run("cmake", "-S", source, "-B", where, *options)
    run("cmake", "--build", where)
