"""``python -m benchmarks.paper.criteria``: what other criteria would choose, on toy networks.

With the function fixed, a loss's gradient becomes D^-1 g and its Hessian D^-1 A D^-1 under a
rescaling D, so every criterion can be minimised over the scales: the norm of the parameters
(ENorm), of the gradient, of the Hessian, and the Hessian's condition number. The paper's
appendix C shows that on its toy examples all of them agree with PathCond; the last two networks
here are ours, and larger.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.func import functional_call, grad, jacrev

import pathcond_native as pc

from .record import Facts, Record, arguments, canvas, picture

NETWORKS = {  # widths, biases
    "two weights": ((1, 1, 1), False),
    "chain of four weights": ((1, 1, 1, 1, 1), False),
    "one neuron, 3 to 2": ((3, 1, 2), False),
    "2-4-1 with biases": ((2, 4, 1), True),
}
SEEDS = 20
SAMPLES = 50


def network(widths: tuple[int, ...], bias: bool, seed: int) -> nn.Sequential:
    """Standard normal parameters in float64; without biases positive, so that no neuron is dead."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias, dtype=torch.float64), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
            if not bias:
                parameter.abs_()
    return model


def derivatives(model: nn.Sequential, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of the squared error on positive random inputs and random targets."""
    rng = np.random.default_rng(seed)
    inputs, outputs = model[0].in_features, model[-1].out_features
    x = torch.from_numpy(rng.uniform(size=(SAMPLES, inputs)))
    y = torch.from_numpy(rng.normal(size=(SAMPLES, outputs)))
    parts = dict(model.named_parameters())
    theta = torch.cat([part.detach().flatten() for part in parts.values()])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([part.numel() for part in parts.values()])
        named = {k: f.reshape(v.shape) for (k, v), f in zip(parts.items(), pieces, strict=True)}
        return (functional_call(model, named, (x,)) - y).square().mean()

    return grad(loss)(theta).numpy(), jacrev(grad(loss))(theta).numpy()


def spectrum(matrix: np.ndarray, kept: int) -> np.ndarray:
    """The `kept` largest eigenvalues in absolute value, descending."""
    return np.sort(np.abs(np.linalg.eigvalsh(matrix)))[::-1][:kept]


def run(name: str) -> Facts:
    """log lambda by every criterion, for one network and seed."""
    title, seed = name.split("/")
    model = network(*NETWORKS[title], int(seed))
    x = torch.zeros(1, model[0].in_features, dtype=torch.float64)
    graph = pc.trace(model, x)
    incidence = graph.incidence().toarray()
    theta = np.concatenate([part.detach().numpy().ravel() for part in model.parameters()])
    gradient, curvature = derivatives(model, int(seed))
    rank = int((spectrum(curvature, len(theta)) > 1e-10 * np.abs(curvature).max()).sum())

    def condition(factors: np.ndarray) -> float:
        values = spectrum(curvature / np.outer(factors, factors), rank)
        return float(np.log(values[0] / values[-1]))

    criteria: dict[str, Callable[[np.ndarray], float]] = {
        "parameters": lambda f: float(np.log(np.linalg.norm(f * theta))),
        "gradient": lambda f: float(np.log(np.linalg.norm(gradient / f))),
        "Hessian": lambda f: float(np.log(spectrum(curvature / np.outer(f, f), 1)[0])),
        "condition number": condition,
    }
    pathcond = pc.solve(graph, pc.diag_g(model, x, graph=graph)).scales.log()
    facts: Facts = {"pathcond": pathcond.tolist()}
    for criterion, value in criteria.items():
        point = np.zeros(incidence.shape[1])
        for _ in range(3):  # a simplex that has collapsed on a kink starts anew
            point = minimize(
                lambda s, value=value: value(np.exp(-incidence @ s)),
                point,
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20_000, "adaptive": True},
            ).x
        facts[criterion] = point.tolist()
    return facts


def distances(record: Record) -> dict[tuple[str, str], np.ndarray]:
    """(network, criterion): max |log of lambda / lambda of PathCond|, for every seed."""
    found: dict[tuple[str, str], list[float]] = {}
    for name, facts in record.runs.items():
        ours = np.array(facts["pathcond"])
        for criterion in facts.keys() - {"pathcond"}:
            away = float(np.abs(np.array(facts[criterion]) - ours).max())
            found.setdefault((name.split("/")[0], criterion), []).append(away)
    return {key: np.array(values) for key, values in sorted(found.items())}


def plot(record: Record, path: Path | None) -> None:
    found = distances(record)
    criteria = sorted({criterion for _, criterion in found})
    with canvas(len(NETWORKS), path) as axes:
        for ax, title in zip(axes, NETWORKS, strict=True):
            for k, criterion in enumerate(criteria):
                values = np.maximum(found[title, criterion], 1e-12)
                ax.plot(np.full(len(values), k), values, ".", alpha=0.6)
            ax.set(title=title, yscale="log", ylim=(1e-13, 1e2))
            ax.set_xticks(range(len(criteria)), criteria, rotation=30, ha="right", fontsize=8)
        axes[0].set(ylabel="max |log λ / λ of PathCond|")


def main() -> None:
    options = arguments(__doc__)
    settings = {"networks": NETWORKS, "seeds": SEEDS, "samples": SAMPLES}
    record = Record.open("criteria", settings, options)
    names = [
        f"{title}/{seed}" for title in NETWORKS for seed in range(1 if options.quick else SEEDS)
    ]
    if not options.plot:
        record.run(names, run, "criteria")
    plot(record, picture("criteria", options))
    for (title, criterion), values in distances(record).items():
        print(f"{title}, {criterion}: median {np.median(values):.1e}, largest {values.max():.1e}")


if __name__ == "__main__":
    main()
