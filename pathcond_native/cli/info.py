"""``info``: the version, how the native core was built, and what else is installed."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
from typing import Any

from .. import __version__, _core
from ..solver import available_threads
from .exit_codes import OK
from .output import print_json, say

__all__ = ["installed_version", "run"]

_PACKAGES = ("numpy", "scipy", "torch", "onnx", "onnxruntime", "tqdm", "matplotlib", "safetensors")


def installed_version(package: str) -> str | None:
    """The version of an importable package, or None; the package is not imported."""
    try:
        if importlib.util.find_spec(package) is None:
            return None
    except (ImportError, ValueError):
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def run(arguments: argparse.Namespace) -> int:
    """Print what is installed; return the exit code 0."""
    facts = _collect()
    if arguments.json:
        print_json(facts)
        return OK
    build = facts["build"]
    rows = [
        ("pathcond_native", facts["version"]),
        ("Python", facts["python"]),
        ("platform", facts["platform"]),
        ("compiler", build["compiler"]),
        ("C++ standard", str(build["cpp_standard"])),
        ("SIMD level", build["simd"]),
        ("CUDA", facts["cuda"]),
        ("threads", str(facts["threads"])),
        *((name, version or "not found") for name, version in facts["packages"].items()),
    ]
    for name, value in rows:
        say(f"{name:<17}{value}")
    return OK


def _cuda() -> str:
    """Whether there is a device to run on, or what is in the way."""
    state, detail = _core.cuda_status()
    if state == "ready":
        return str(detail)
    if state == "not built":
        return "not built in"
    return f"built in, but {state}" + (f": {detail}" if detail else "")


def _collect() -> dict[str, Any]:
    build = dict(_core.build_info())
    del build["version"]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "build": build,
        "cuda": _cuda(),
        "threads": available_threads(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
    }
