"""``python -m benchmarks.paper.geometry``: how far from the optimum the other experiments start.

Per network and seed: the spread of diag(G), max |log lambda| at the optimum and after the paper's
ten sweeps, what the optimum gains and what ten sweeps leave of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import pathcond_native as pc
from pathcond_native.cli.networks import CIFAR_NV

from . import figure2, figure3, figure5, initialisations
from .record import Facts, Record, arguments, canvas, picture

SEEDS = (0, 1, 2)


def networks() -> dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]]:
    """How to build each with a seed, and the shape of one input."""
    found: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {}
    for depth in sorted(figure2.DEPTHS):
        name = f"figure 2, {depth} layers"
        found[name] = (lambda s, d=depth: figure2.network(d, 784, s), (1, 28, 28))
    for start in figure3.STARTS:
        found[f"figure 3, {start}"] = (lambda s, t=start: figure3.network(t, s), (1, 14, 14))
    found["CIFAR-NV, default"] = (CIFAR_NV.build, CIFAR_NV.input_shape)
    for factor in figure5.FACTORS:
        name = f"figure 5, compression {factor}"
        found[name] = (lambda s, c=factor: figure5.network(c, s), (1, 14, 14))
    for family, inputs in (
        (initialisations.IMAGES, 196),
        (initialisations.CURVE, 1),
        (
            initialisations.ALPHAS[:1],
            initialisations.DIMENSION,
        ),  # g is the same for all, times alpha^2
    ):
        for title in family:
            found[title] = (lambda s, t=title: initialisations.start(t, s), (inputs,))
    return found


def measure(model: nn.Module, x: Tensor) -> Facts:
    graph = pc.trace(model, x)
    g = pc.diag_g(model, x, graph=graph)
    optimum, sweeps = pc.solve(graph, g), pc.solve(graph, g, method="cd")
    positive = g[g > 0]
    return {
        "log10_spread": float((positive.max() / positive.min()).log10()),
        "max_log_scale": float(optimum.u.abs().max()) / 2,
        "max_log_scale_of_ten_sweeps": float(sweeps.u.abs().max()) / 2,
        "gain_per_parameter": (optimum.initial_objective - optimum.objective) / optimum.rows,
        "left_by_ten_sweeps": (sweeps.objective - optimum.objective) / optimum.rows,
    }


def run(name: str) -> Facts:
    title, seed = name.split("/")
    build, shape = networks()[title]
    model = build(int(seed))
    return measure(model, torch.zeros(1, *shape, dtype=next(model.parameters()).dtype))


def plot(record: Record, path: Path | None) -> None:
    titles = list(dict.fromkeys(name.split("/")[0] for name in record.runs))
    with canvas(2, path) as axes:
        for name, facts in record.runs.items():
            row = titles.index(name.split("/")[0])
            axes[0].plot(facts["max_log_scale"], row, "C3o", alpha=0.5)
            axes[0].plot(facts["max_log_scale_of_ten_sweeps"], row, "C2x")
            axes[1].plot(facts["gain_per_parameter"], row, "C3o", alpha=0.5)
            axes[1].plot(max(facts["left_by_ten_sweeps"], 1e-8), row, "C2x")
        axes[0].set_yticks(range(len(titles)), titles, fontsize=7)
        axes[0].set(xscale="log", xlabel="max |log λ|: optimum (o), ten sweeps (x)")
        axes[1].set_yticks([])
        axes[1].set(xscale="log", xlabel="gap/p at the start (o), after ten sweeps (x)")


def main() -> None:
    options = arguments(__doc__)
    seeds = SEEDS[:1] if options.quick else SEEDS
    titles = ["figure 2, 3 layers", "Stiefel"] if options.quick else list(networks())
    record = Record.open("geometry", {"seeds": SEEDS}, options)
    if not options.plot:
        record.run([f"{title}/{seed}" for title in titles for seed in seeds], run, "geometry")
    plot(record, picture("geometry", options))
    for name, facts in record.runs.items():
        print(name, ", ".join(f"{key} {value:.3g}" for key, value in facts.items()))


if __name__ == "__main__":
    main()
