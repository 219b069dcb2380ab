"""``python -m benchmarks.paper.figure1``: one neuron, in parameter space and in lifted space.

f(x) = v relu(u x + b) with u, b, v > 0 computes z_1 x + z_2 with z = (u v, b v), its path-lifting.
Gradient descent on (u, b, v) from three points of very different balance, as they are and
rescaled, beside the idealised flow: gradient descent on z itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import pathcond_native as pc

from .record import Facts, Record, arguments, canvas, picture

STARTS = {
    "large output weight": (0.25, 0.1, 4.0),
    "balanced": (0.9, 0.4, 1.0),
    "small output weight": (6.0, 2.0, 0.15),
}
TARGET = (1.0, 1.0)  # z of the function that is learnt
INPUTS = np.linspace(0.0, 1.0, 21)
SETTINGS = {"learning_rate": 1e-3, "steps": 20_000, "kept": 200}

# u and b enter the neuron, v leaves it.
INCIDENCE = np.array([[-1], [-1], [1]])


def lifted(theta: np.ndarray) -> np.ndarray:
    """(u v, b v)."""
    u, b, v = theta
    return np.array([u * v, b * v])


def residual(z: np.ndarray) -> np.ndarray:
    return z[0] * INPUTS + z[1] - (TARGET[0] * INPUTS + TARGET[1])


def loss(z: np.ndarray) -> float:
    """Mean of half squared errors."""
    return 0.5 * float(np.mean(residual(z) ** 2))


def lifted_gradient(z: np.ndarray) -> np.ndarray:
    r = residual(z)
    return np.array([np.mean(r * INPUTS), np.mean(r)])


def gradient(theta: np.ndarray) -> np.ndarray:
    u, b, v = theta
    d1, d2 = lifted_gradient(lifted(theta))
    return np.array([d1 * v, d2 * v, d1 * u + d2 * b])


def rescaled(theta: np.ndarray) -> np.ndarray:
    """The same function, at the optimum of PathCond's criterion."""
    u, b, v = theta
    diagonal = np.array([v**2, v**2, u**2 + b**2])  # sum over paths of (dPhi / dtheta_i)^2
    scale = pc.solve(INCIDENCE, diagonal).scales[0]
    return np.array([u * scale, b * scale, v / scale])


def descent(start: np.ndarray, step: Any, lift: Any) -> tuple[np.ndarray, list[float]]:
    """Points and losses along gradient descent."""
    every = SETTINGS["steps"] // SETTINGS["kept"]
    x, points, losses = np.array(start), [], []
    for k in range(SETTINGS["steps"] + 1):
        z = lift(x)
        losses.append(loss(z))
        if k % every == 0:
            points.append(x.copy())
        x = x - SETTINGS["learning_rate"] * step(x)
    return np.array(points), losses


def steps_to(losses: list[float], fraction: float) -> int | None:
    """Steps until the loss is this fraction of the first; None if never."""
    below = np.flatnonzero(np.array(losses) <= fraction * losses[0])
    return int(below[0]) if len(below) else None


def deviation(path: np.ndarray, ideal: np.ndarray) -> float:
    """Largest distance of a lifted trajectory from the curve of the idealised one."""
    return float(np.linalg.norm(path[:, None] - ideal[None], axis=2).min(axis=1).max())


def run(name: str) -> Facts:
    """Trajectories from one start."""
    start = np.array(STARTS[name])
    ideal, _ = descent(lifted(start), lifted_gradient, lambda z: z)
    facts: Facts = {"ideal": ideal.tolist()}
    for method, theta in (("none", start), ("pathcond", rescaled(start))):
        points, losses = descent(theta, gradient, lifted)
        path = np.array([lifted(point) for point in points])
        facts[method] = {
            "start": theta.tolist(),
            "points": points.tolist(),
            "losses": losses[:: SETTINGS["steps"] // SETTINGS["kept"]],
            "steps_to_1e-3": steps_to(losses, 1e-3),
            "deviation_from_ideal": deviation(path, ideal),
        }
    return facts


def plot(record: Record, path: Path | None) -> None:
    every = SETTINGS["steps"] // SETTINGS["kept"]
    with canvas(3, path) as (left, middle, right):
        for colour, (name, facts) in zip(("C0", "C1", "C2"), record.runs.items(), strict=True):
            middle.plot(*np.array(facts["ideal"]).T, ":", color=colour)
            for method, style in (("none", "--"), ("pathcond", "-")):
                points = np.array(facts[method]["points"])
                steps = every * np.arange(len(points))
                left.semilogy(steps, facts[method]["losses"], style, color=colour)
                middle.plot(*np.array([lifted(x) for x in points]).T, style, color=colour)
                label = f"{name}, {'rescaled' if style == '-' else 'as it is'}"
                right.plot(points[:, 0], points[:, 2], style, color=colour, label=label)
        left.set(xlabel="step", ylabel="loss", title="loss")
        middle.set(xlabel="u v", ylabel="b v", title="lifted space; dotted: idealised flow")
        right.set(xlabel="u", ylabel="v", title="parameters")
        right.legend(fontsize=7)


def main() -> None:
    options = arguments(__doc__)
    if options.quick:
        SETTINGS.update(steps=2_000, learning_rate=1e-2)
    record = Record.open("figure1", SETTINGS, options)
    if not options.plot:
        record.run(STARTS, run, "figure 1")
    plot(record, picture("figure1", options))
    for name, facts in record.runs.items():
        for method in ("none", "pathcond"):
            found = facts[method]
            print(
                f"{name:22s}{method:10s} steps to 1e-3 of the loss {found['steps_to_1e-3']!s:>7s}"
                f"   distance from the idealised curve {found['deviation_from_ideal']:.3f}"
            )


if __name__ == "__main__":
    main()
