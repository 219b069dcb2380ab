"""``python -m benchmarks.paper.diagonal``: what only the diagonal of G can see, on tiny networks.

With J the Jacobian of the path-lifting, rescaling makes P = J e^{diag(Bu)} J^T of J J^T. The paper
asks for the smallest divergence of P, freely scaled, from the identity over its r non-zero
eigenvalues. That is

    E(u) = r log Σ_i g_i exp((Bu)_i) - log det(V^T e^{diag(Bu)} V),

g the diagonal of G = J^T J and V an orthonormal basis of J's row space. PathCond's F puts the
number of parameters p in place of r and Σ_i (Bu)_i in place of the determinant, as if V were
square; J has at most p - H of the p dimensions. Here both are minimised and compared by E.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.func import grad, jacrev

import pathcond_native as pc

from .record import Facts, Record, arguments, canvas, picture

WIDTHS = ((2, 3, 1), (2, 4, 4, 2), (4, 8, 2, 4), (8, 2, 8, 4), (3, 3, 3, 3, 3, 3))
STANDARD_DEVIATIONS = {"small variance": 0.3, "He": 1.0}  # of He's, sqrt(2 / inputs)
SEEDS = 10


def network(widths: tuple[int, ...], share: float, seed: int) -> nn.Sequential:
    """Normal weights and biases of `share` times He's standard deviation, in float64."""
    layers: list[nn.Module] = []
    generator = torch.Generator().manual_seed(seed)
    for a, b in pairwise(widths):
        layer = nn.Linear(a, b, dtype=torch.float64)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, 0.0, share * (2 / a) ** 0.5, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def gram(model: nn.Sequential) -> np.ndarray:
    """G = J^T J, all of it: mixed derivatives of Σ over paths of Φ(θ) Φ(θ') at θ' = θ.

    That sum is what the network without its ReLUs makes of ones when its parameters are θ θ'.
    """
    shapes = [parameter.shape for parameter in model.parameters()]
    theta = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def paths(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        parts = (one * other).split([shape.numel() for shape in shapes])
        parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        x = one.new_ones(shapes[0][1])
        for weight, bias in zip(parts[::2], parts[1::2], strict=True):
            x = weight @ x + bias
        return x.sum()

    return jacrev(grad(paths), argnums=1)(theta, theta).numpy()


class Exact:
    """E with its gradient; r and V from the eigenvectors of G."""

    def __init__(self, g: np.ndarray, incidence: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(g)
        kept = values > 1e-11 * values[-1]
        self.incidence, self.diagonal = incidence, np.diag(g)
        self.rank, self.basis = int(kept.sum()), vectors[:, kept]
        self.values = values[kept]

    def __call__(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        v = self.incidence @ u
        weights = self.diagonal * np.exp(v)
        root = np.exp(v / 2)[:, None] * self.basis
        q, r = np.linalg.qr(root)
        value = self.rank * np.log(weights.sum()) - 2 * np.log(np.abs(np.diag(r))).sum()
        slope = self.rank * weights / weights.sum() - (q**2).sum(1)
        return float(value), self.incidence.T @ slope

    def log_condition(self, u: np.ndarray) -> float:
        """log of the largest over the smallest non-zero eigenvalue of P."""
        half = np.exp(self.incidence @ u / 2)[:, None] * self.basis * np.sqrt(self.values)
        singular = np.linalg.svd(half, compute_uv=False)
        return float(2 * np.log(singular[0] / singular[-1]))


def run(name: str) -> Facts:
    """E and the condition number at the start, at F's minimiser and at E's."""
    title, variance, seed = name.split("/")
    widths = tuple(map(int, title.split("-")))
    model = network(widths, STANDARD_DEVIATIONS[variance], int(seed))
    x = torch.zeros(1, widths[0], dtype=torch.float64)
    graph = pc.trace(model, x)
    exact = Exact(gram(model), graph.incidence().toarray().astype(float))
    diagonal = pc.solve(graph, pc.diag_g(model, x, graph=graph)).u.numpy()
    starts = (np.zeros_like(diagonal), diagonal)
    full = min(
        (minimize(exact, u, jac=True, options={"gtol": 1e-8}) for u in starts), key=lambda f: f.fun
    ).x
    facts: Facts = {"rank": exact.rank, "parameters": len(exact.diagonal)}
    for point, u in (("start", starts[0]), ("diagonal", diagonal), ("full", full)):
        facts[point] = {"E": exact(u)[0], "log_condition": exact.log_condition(u)}
    facts["apart"] = float(np.abs(full - diagonal).max()) / 2
    facts["moved"] = float(np.abs(full).max()) / 2
    return facts


def share_kept(facts: Facts) -> float:
    """The part of the largest possible decrease of E that F's minimiser reaches."""
    start, diagonal, full = (facts[point]["E"] for point in ("start", "diagonal", "full"))
    return float((start - diagonal) / (start - full))


def plot(record: Record, path: Path | None) -> None:
    with canvas(2, path) as axes:
        for variance in STANDARD_DEVIATIONS:
            runs = [f for name, f in record.runs.items() if name.split("/")[1] == variance]
            axes[0].plot(
                [f["moved"] for f in runs], [share_kept(f) for f in runs], ".", label=variance
            )
            start, end = (
                [f[point]["log_condition"] / np.log(10) for f in runs]
                for point in ("full", "diagonal")
            )
            axes[1].plot(start, end, ".", label=variance)
        axes[0].set(xlabel="max |log λ| of the full criterion", ylabel="share of its decrease kept")
        axes[1].set(xlabel="log10 condition number, full", ylabel="with the diagonal only")
        axes[1].axline((1, 1), slope=1, color="grey", lw=0.7)
        axes[0].legend()


def main() -> None:
    options = arguments(__doc__)
    settings = {"standard_deviations": STANDARD_DEVIATIONS, "widths": WIDTHS, "seeds": SEEDS}
    record = Record.open("diagonal", settings, options)
    names = [
        f"{'-'.join(map(str, widths))}/{variance}/{seed}"
        for widths in WIDTHS
        for variance in STANDARD_DEVIATIONS
        for seed in range(1 if options.quick else SEEDS)
    ]
    if not options.plot:
        record.run(names, run, "diagonal")
    plot(record, picture("diagonal", options))
    for variance in STANDARD_DEVIATIONS:
        for title in ("-".join(map(str, widths)) for widths in WIDTHS):
            runs = [f for n, f in record.runs.items() if n.startswith(f"{title}/{variance}/")]
            kept, apart, moved = np.median(
                [(share_kept(f), f["apart"], f["moved"]) for f in runs], 0
            )
            conditions = [
                np.median([f[point]["log_condition"] for f in runs]) / np.log(10)
                for point in ("start", "diagonal", "full")
            ]
            print(
                f"{title}, {variance}: {kept:.0%} of the decrease kept, log lambda apart by "
                f"{apart:.2f} of {moved:.2f}, log10 condition number start, diagonal, full "
                + ", ".join(f"{c:.2f}" for c in conditions)
            )


if __name__ == "__main__":
    main()
