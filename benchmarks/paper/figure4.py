"""``python -m benchmarks.paper.figure4``: how much rescaling irregular widths ask for.

Random multilayer perceptrons with 8 layers of weights and hidden widths of mean 32, drawn from a
symmetric Dirichlet distribution; for each the ratio of its largest to its smallest width and
max |log lambda| at the optimum, for a small and a large variance of the weights.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

import pathcond_native as pc

from .record import Facts, Record, arguments, canvas, picture

LAYERS, MEAN_WIDTH = 8, 32
# The criterion is flat where the variance is 1 / width, the largest where it is far below.
VARIANCES = {"small variance": 0.1 / MEAN_WIDTH, "large variance": 4.0 / MEAN_WIDTH}
CONCENTRATIONS = np.geomspace(0.3, 1000.0, 20).tolist()
REPEATS = 20


def widths(concentration: float, rng: np.random.Generator) -> list[int]:
    """Hidden widths: at least 1 each, the rest by largest remainders of a Dirichlet draw."""
    hidden = LAYERS - 1
    spare = hidden * (MEAN_WIDTH - 1)
    shares = rng.dirichlet(np.full(hidden, concentration)) * spare
    found = np.floor(shares).astype(int)
    for k in np.argsort(found - shares)[: spare - found.sum()]:
        found[k] += 1
    return (1 + found).tolist()


def network(hidden: list[int], variance: float, seed: int) -> nn.Sequential:
    """Weights and biases normal with this variance; inputs and outputs of the mean width."""
    sizes = [MEAN_WIDTH, *hidden, MEAN_WIDTH]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, dtype=torch.float64), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, variance**0.5, generator=generator)
    return model


def run(name: str) -> Facts:
    """One network, with both variances."""
    number, repeat = map(int, name.split("/"))
    rng = np.random.default_rng([number, repeat])
    hidden = widths(CONCENTRATIONS[number], rng)
    facts: Facts = {"widths": hidden, "width_ratio": max(hidden) / min(hidden)}
    x = torch.zeros(1, MEAN_WIDTH, dtype=torch.float64)
    for title, variance in VARIANCES.items():
        model = network(hidden, variance, seed=1000 * number + repeat)
        graph = pc.trace(model, x)
        result = pc.solve(graph, pc.diag_g(model, x, graph=graph))
        assert result.converged
        facts[title] = float(result.u.abs().max()) / 2
    return facts


def correlations(record: Record) -> dict[str, float]:
    """Spearman's rank correlation of width ratio and max |log lambda|."""
    ratios = [facts["width_ratio"] for facts in record.runs.values()]
    return {
        title: float(spearmanr(ratios, [f[title] for f in record.runs.values()]).statistic)
        for title in VARIANCES
    }


def plot(record: Record, path: Path | None) -> None:
    rank = correlations(record)
    with canvas(1, path) as (axes,):
        for title in VARIANCES:
            ratios = [facts["width_ratio"] for facts in record.runs.values()]
            logs = [facts[title] for facts in record.runs.values()]
            axes.plot(ratios, logs, ".", label=f"{title}, rank correlation {rank[title]:.2f}")
        axes.set(xlabel="largest width / smallest width", ylabel="max |log λ|", xscale="log")
        axes.legend()


def main() -> None:
    options = arguments(__doc__)
    repeats = 1 if options.quick else REPEATS
    settings = {
        "variances": VARIANCES,
        "concentrations": CONCENTRATIONS,
        "layers": LAYERS,
        "mean_width": MEAN_WIDTH,
    }
    record = Record.open("figure4", settings, options)
    if not options.plot:
        names = [f"{k}/{r}" for r in range(repeats) for k in range(len(CONCENTRATIONS))]
        record.run(names, run, "figure 4")
    plot(record, picture("figure4", options))
    for title, rank in correlations(record).items():
        largest = [facts[title] for facts in record.runs.values()]
        print(
            f"{title}: rank correlation {rank:.2f}, max |log λ| median {np.median(largest):.2f}, "
            f"from {min(largest):.2f} to {max(largest):.2f}"
        )


if __name__ == "__main__":
    main()
