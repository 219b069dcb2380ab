"""``python -m benchmarks.rescaling``: what `rescale_` costs next to one training step.

Writes ``results/rescaling.json`` and ``rescaling.md``. Every network runs in a process of its own,
so that the peak of its memory is its own.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("resnet18", "resnet50", "densenet121", "vgg16")
REPEATS = 5

Facts = dict[str, Any]

_ROWS: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("parameters", lambda f: f"{f['parameters'] / 1e6:.1f} M"),
    ("forward + backward, float32, batch 1", lambda f: f"{f['step_seconds'] * 1e3:.0f} ms"),
    ("diag(G), float32", lambda f: _ratio(f, "diag_g_seconds")),
    ("**`rescale_`, not verified**", lambda f: f"**{_ratio(f, 'unverified_seconds')}**"),
    ("**`rescale_`, verified**", lambda f: f"**{_ratio(f, 'verified_seconds')}**"),
    ("of which solve", lambda f: f"{f['solve_seconds'] * 1e3:.1f} ms"),
    (
        "first call, trace and loading torch.export included",
        lambda f: f"{f['first_seconds']:.1f} s",
    ),
    ("memory beside the model: forward + backward", lambda f: _bytes(f, "step_bytes")),
    ("diag(G) and its sums", lambda f: _bytes(f, "diag_g_bytes")),
    ("`rescale_`, not verified", lambda f: _bytes(f, "unverified_bytes")),
    ("largest relative change of an output", lambda f: f"{f['error']:.1e}"),
)
_NOTES = f"""\
Images of 224 x 224, batch 1, PyTorch's default initialisation, two threads; medians of {REPEATS},
in turn with forward + backward, whose time the ratios refer to. Without the trace, which is reused,
except in the first call. diag(G) is computed in float32, its sums in float64. Verification runs the
model six times (before and after, in evaluation mode on the example inputs and on random ones, in
training mode on random ones). Memory: growth of the resident set at its peak, per parameter;
diag(G) is summed parameter by parameter, its squared parameters take 4 bytes each until then."""


def _ratio(facts: Facts, name: str) -> str:
    return f"{facts[name] * 1e3:.0f} ms ({facts[name] / facts['step_seconds']:.1f}x)"


def _bytes(facts: Facts, name: str) -> str:
    return f"{facts[name] / facts['parameters']:.1f} B"


def main() -> None:
    """Measure every network and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescaling", description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=", ".join(NETWORKS))
    parser.add_argument("--alone", action="store_true", help="print one network's facts as JSON")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.networks[0])))
        return
    found = {}
    for name in arguments.networks:
        command = [sys.executable, "-m", "benchmarks.rescaling", "--alone", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
    _write(found)


def measure(name: str) -> Facts:
    """Times and memory of one of torchvision's networks."""
    import torch

    import pathcond_native as pc
    from pathcond_native.model.diag_g import reduced_diag_g

    from .vision import models

    torch.manual_seed(0)
    model = getattr(models(), name)(weights=None).eval()
    x = torch.randn(1, 3, 224, 224)

    def step() -> None:
        model(x).sum().backward()
        model.zero_grad()

    def seconds(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    original = [parameter.detach().clone() for parameter in model.parameters()]

    def rescale(**options: Any) -> Any:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), original, strict=True):
                parameter.copy_(value)
        start = time.perf_counter()
        report = pc.rescale_(model, x, **options)
        return time.perf_counter() - start, report

    first, report = rescale()
    graph = pc.trace(model, x)
    assert report.result.converged and report.max_relative_error <= 1e-5, report
    times: dict[str, list[float]] = {
        k: [] for k in ("step", "diag_g", "unverified", "verified", "solve")
    }
    for _ in range(REPEATS):
        times["step"].append(seconds(step))
        times["diag_g"].append(seconds(lambda: reduced_diag_g(model, graph)))
        times["unverified"].append(rescale(graph=graph, verify=False)[0])
        total, report = rescale(graph=graph)
        times["verified"].append(total)
        times["solve"].append(report.seconds["solve"])
        assert report.gradient_norm <= 1e-12, report
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **{f"{k}_seconds": statistics.median(v) for k, v in times.items()},
        "first_seconds": first,
        "step_bytes": _growth(step),
        "diag_g_bytes": _growth(lambda: reduced_diag_g(model, graph)),
        "unverified_bytes": _growth(lambda: pc.rescale_(model, x, graph=graph, verify=False)),
        "error": report.max_relative_error,
    }


def _growth(run: Callable[[], Any]) -> int:
    """Bytes by which the resident set grows while `run` runs, at its peak (Linux)."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # peak := current
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def _write(found: dict[str, Facts]) -> None:
    versions = {x: version(x) for x in ("torch", "torchvision", "pathcond-native")}
    versions["python"] = platform.python_version()
    content = json.dumps({"versions": versions, "networks": found}, indent=1)
    (RESULTS / "rescaling.json").write_text(content + "\n")
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for title, cell in _ROWS:
        lines.append(f"| {title} | " + " | ".join(cell(facts) for facts in found.values()) + " |")
    named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    text = "\n".join([*lines, "", f"{named}.", "", _NOTES])
    (RESULTS / "rescaling.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
