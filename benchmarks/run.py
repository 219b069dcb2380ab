"""``python -m benchmarks.run``: run everything, write ``results/solve.json`` and ``solve.md``.

The benchmarks assert their answers and floors; nothing is written unless all of them pass.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pathcond_native import _core

from .results import table

HERE = Path(__file__).parent

_NOTES = """\
In brackets: this time over that of `solve` to the optimum, run beside it; medians. By tensors:
`solve(graph, g)` with a traced graph in place of B.
Preparation (copies of B by rows and by columns, index tensors) is not in the times of the others.
L-BFGS-B: SciPy, objective F/p with gradient in one function, 40 corrections, stopped in the
iteration that reaches the gap. PyTorch: index tensors per neuron, one thread (more were slower).
Reading: NumPy's sum of the bytes of indptr, indices, data and g as 64-bit integers, right after a
`solve`, so partly from cache. Networks: PyTorch's default initialisation, seed 0."""


def main() -> int:
    """Run the benchmarks and write their results; return pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        status = pytest.main([str(HERE), "-q", f"--benchmark-json={report}"])
        if status != pytest.ExitCode.OK:
            return int(status)
        measured = json.loads(report.read_text(encoding="utf-8"))
    networks: dict[str, dict[str, Any]] = {}
    for entry in measured["benchmarks"]:
        facts = entry["extra_info"]
        networks.setdefault(facts.pop("network"), {}).update(facts)
    machine = describe(measured["machine_info"]["cpu"].get("brand_raw", platform.machine()))
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine, "networks": networks}, indent=2) + "\n"
    (results / "solve.json").write_text(text, encoding="utf-8")
    on = ", ".join(f"{key} {value}" for key, value in machine.items())
    (results / "solve.md").write_text(f"{table(networks)}\n\n{on}.\n\n{_NOTES}\n", encoding="utf-8")
    return 0


def describe(cpu: str) -> dict[str, Any]:
    """The machine and the versions, without its name or paths."""
    build = _core.build_info()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "CPU": cpu,
        "cores": cores,
        "SIMD": build["simd"],
        "compiler": build["compiler"],
        "Python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "torch")},
        "pathcond_native": build["version"],
    }


if __name__ == "__main__":
    sys.exit(main())
