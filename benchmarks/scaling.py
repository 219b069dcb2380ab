"""``python -m benchmarks.scaling``: time against p, sweeps against depth, hard conditioning.

Writes ``results/scaling.json``, ``scaling.md`` and, where matplotlib is installed, ``scaling.png``.
``--most 1e9`` adds the billion (needs 5 GB).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pathcond_native import SolveResult, solve
from pathcond_native.cli.bench import read_once

from .run import describe
from .synthetic import Tensors, chain, conditioned, depthwise, positive, stream

RESULTS = Path(__file__).parent / "results"
LAYERS = 4
DEPTHS = (4, 10, 30, 100, 300, 1000)
Facts = dict[str, Any]


def main() -> int:
    """Measure, check every answer, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=float, default=1e8, help="largest p by tensors")
    most = parser.parse_args().most
    facts: Facts = {"machine": describe_machine()}
    facts["tensors"] = [by_tensors(p) for p in (1e5, 1e6, 1e7, 1e8, 1e9) if p <= most]
    facts["raw"] = [raw(p) for p in (1e5, 1e6, 1e7, 5e7) if p <= most]
    facts["exponent"] = exponent(facts["tensors"])
    facts["exponent_per_pass"] = exponent(
        [{**f, "seconds": f["seconds"] / f["passes"]} for f in facts["tensors"]]
    )
    facts["depth"] = [depth(layers) for layers in DEPTHS]
    facts["shapes"] = [shape(*x) for x in SHAPES]
    facts["conditioning"] = [hard(*x) for x in HARD]
    (RESULTS / "scaling.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "scaling.md").write_text(report(facts), encoding="utf-8")
    print(report(facts))
    plot(facts)
    return 0


def describe_machine() -> Facts:
    """The machine as in `benchmarks.run`."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return describe(line.partition(":")[2].strip())
    return describe("unknown")


def measured(action: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    """The result and the median seconds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def certified(result: SolveResult) -> Facts:
    """Facts of a result, which must be at the optimum."""
    assert result.converged and result.gradient_norm <= 1e-12, result
    return {
        "sweeps": result.sweeps,
        "passes": result.passes,
        "gradient": result.gradient_norm,
    }


def by_tensors(p: float) -> Facts:
    """Four square layers, float32 g, read in place."""
    graph = chain(round((p / LAYERS) ** 0.5), LAYERS)
    g = positive(graph.shape[0], np.float32)
    rounds = 5 if p <= 1e8 else 3
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, seconds = measured(lambda: solve(graph, g), rounds)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, reading = measured(lambda: read_once((g,)), rounds)
    facts = {"p": graph.shape[0], "seconds": seconds, "reading": reading, **certified(result)}
    facts["extra_memory"] = 1024 * (after - before) / g.nbytes
    print(f"by tensors: p = {graph.shape[0]:,}, {seconds:.3g} s", file=sys.stderr)
    return facts


def raw(p: float) -> Facts:
    """The same from B in compressed columns, float64 g."""
    graph = chain(round((p / LAYERS) ** 0.5), LAYERS)
    B, g = graph.incidence(), positive(graph.shape[0], np.float64)
    result, seconds = measured(lambda: solve(B, g), 5)
    _, reading = measured(lambda: read_once((B.indptr, B.indices, B.data, g)), 5)
    print(f"from B: p = {graph.shape[0]:,}, {seconds:.3g} s", file=sys.stderr)
    return {"p": graph.shape[0], "seconds": seconds, "reading": reading, **certified(result)}


def exponent(points: list[Facts]) -> float:
    """Slope of log time against log p, from a million on."""
    x, y = (np.log([f[key] for f in points if f["p"] > 5e5]) for key in ("p", "seconds"))
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")


def depth(layers: int) -> Facts:
    """Chains of 16 neurons per layer, weights over four decades; the worst of three seeds."""
    graph = chain(16, layers)
    found = []
    for seed in range(3):
        g = conditioned(graph, 4.0, seed)
        result, seconds = measured(lambda g=g: solve(graph, g), 3)
        found.append({"layers": layers, "seconds": seconds, **certified(result)})
    print(f"depth {layers}", file=sys.stderr)
    return max(found, key=lambda f: f["sweeps"])


SHAPES: tuple[tuple[str, Callable[[], Tensors]], ...] = (
    ("1000 layers of 64", lambda: chain(64, 1000)),
    ("one layer of 3000 x 3000", lambda: chain(3000, 3, inputs=10)),
    ("depthwise, 20 blocks of 256 channels", lambda: depthwise(256, 20)),
)


def shape(name: str, build: Callable[[], Tensors]) -> Facts:
    """Time of an unusual shape."""
    graph = build()
    g = positive(graph.shape[0], np.float64)
    result, seconds = measured(lambda: solve(graph, g), 5)
    _, reading = measured(lambda: read_once((g,)), 5)
    return {
        "name": name,
        "p": graph.shape[0],
        "seconds": seconds,
        "reading": reading,
        **certified(result),
    }


HARD: tuple[tuple[str, Callable[[], Tensors], float], ...] = (
    ("30 decades inside every layer, 60 layers of 16", lambda: chain(16, 60), 30.0),
    ("30 decades inside every layer, 60 layers of 3", lambda: chain(3, 60), 30.0),
    ("residual stream of 50 blocks, 30 decades", lambda: stream(32, 16, 50), 30.0),
    ("residual stream of 50 blocks, 4 decades", lambda: stream(32, 16, 50), 4.0),
)


def hard(name: str, build: Callable[[], Tensors], decades: float) -> Facts:
    """The worst of ten seeds by passes over the merged weights."""
    graph = build()
    found = [certified(solve(graph, conditioned(graph, decades, seed))) for seed in range(10)]
    return {"name": name, **max(found, key=lambda f: f["passes"])}


def report(facts: Facts) -> str:
    """The facts as Markdown."""

    def lines(header: str, rows: list[str]) -> list[str]:
        columns = header.count("|") - 1
        return [header, "| --- " + "| ---: " * (columns - 1) + "|", *rows, ""]

    def timed(label: str, f: Facts) -> str:
        ratio = f["seconds"] / f["reading"]
        return (
            f"| {label} | {f['p']:,} | {1e3 * f['seconds']:.3g} ms | {ratio:.1f} | {f['sweeps']} "
            f"| {f['passes']:.0f} |"
        )

    head = "| | p | time | reads of the input | sweeps | passes |"
    machine = ", ".join(f"{key} {value}" for key, value in facts["machine"].items())
    extra = max(f["extra_memory"] for f in facts["tensors"] if f["p"] > 5e6)
    text = [
        "# Scaling",
        "",
        *lines(head, [timed("by tensors", f) for f in facts["tensors"]]),
        f"By tensors: float32 g in place, at most {100 * extra:.1f} % more memory than g from 1e7 "
        f"on; time grows as p^{facts['exponent']:.2f} from 1e6 on, time per pass as "
        f"p^{facts['exponent_per_pass']:.2f}.",
        "",
        *lines(head, [timed("from B", f) for f in facts["raw"]]),
        *lines(head, [timed(f["name"], f) for f in facts["shapes"]]),
        *lines(
            "| layers of 16 neurons | sweeps | passes | time |",
            [
                f"| {f['layers']} | {f['sweeps']} | {f['passes']:.0f} "
                f"| {1e3 * f['seconds']:.3g} ms |"
                for f in facts["depth"]
            ],
        ),
        *lines(
            "| conditioning, worst of ten seeds | sweeps | passes |",
            [f"| {f['name']} | {f['sweeps']} | {f['passes']:.0f} |" for f in facts["conditioning"]],
        ),
        f"{machine}. Medians; a read is NumPy's sum of the bytes as 64-bit integers, one thread, "
        "beside it. Every result is at max abs(dF/du)/p <= 1e-12.",
        "",
    ]
    return "\n".join(text)


def plot(facts: Facts) -> None:
    """Time against p and sweeps against depth."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for key, label in (("tensors", "by tensors, float32"), ("raw", "from B, float64")):
        p = [f["p"] for f in facts[key]]
        left.loglog(p, [f["seconds"] for f in facts[key]], "o-", label=label)
        left.loglog(p, [f["reading"] for f in facts[key]], ":", label=f"reading, {label}")
    left.set(xlabel="parameters", ylabel="seconds", title="to the optimum")
    left.legend(fontsize=8)
    right.semilogx(
        [f["layers"] for f in facts["depth"]], [f["sweeps"] for f in facts["depth"]], "o-"
    )
    right.set(xlabel="layers", ylabel="sweeps to 1e-12", ylim=(0, 26), title="depth")
    figure.savefig(RESULTS / "scaling.png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
