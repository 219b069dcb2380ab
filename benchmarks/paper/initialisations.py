"""``python -m benchmarks.paper.initialisations``: other starting points, conditioned or not.

Training with and without going to the optimum first, every pair with every learning rate; what the
optimum changes is measured by `geometry`. Three families:

* images: 196-64^7-10 on Fashion-MNIST at 14 x 14, stochastic gradient descent; PyTorch's default,
  He, orthogonal and Stiefel (our reconstruction) weights.
* curve: 1-4^6-1 on x - x^3 at 500 points, Adam on all of them at once; triangles against He.
* scale: (1/m) Σ b relu(<a, x>) with its weights times alpha, one neuron as teacher, gradient
  descent; how far training moves and how much of the neurons' norm turns to the teacher.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .fashion import fashion_mnist
from .methods import prepare
from .rates import best, by_rate, names
from .record import Facts, Record, arguments, canvas, picture
from .starts import mlp, random_peaks, triangles, two_layers
from .training import Schedule, train

IMAGES = ("default", "He", "orthogonal", "Stiefel")
CURVE = ("triangles", "He 1-4^6-1")
ALPHAS = ("alpha 0.1", "alpha 0.3", "alpha 1", "alpha 3", "alpha 10")
METHODS = ("none", "optimum")
IMAGE_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
CURVE_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
ALPHA_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
SETTINGS = {"images": 5_000, "epochs": 8, "pixels": 196, "curve_steps": 1_000, "scale_steps": 2_000}
DIMENSION, WIDTH = 10, 100  # of the two-layer networks


def start(name: str, seed: int) -> nn.Sequential:
    if name in IMAGES:
        return mlp([196, *[64] * 7, 10], name, seed)
    if name == "triangles":
        return triangles(*random_peaks(6, seed))
    if name in CURVE:
        return mlp([1, *[4] * 6, 1], "He", seed).double()
    return two_layers(DIMENSION, WIDTH, float(name.split()[1]), seed)


def example(model: nn.Sequential) -> Tensor:
    first = model[0]
    return torch.zeros(1, first.in_features, dtype=first.weight.dtype)


def full_batch(
    model: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int
) -> list[float]:
    """Mean squared errors along training on all points at once; stops where they overflow."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x).squeeze(1) - y).square().mean()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            break
        loss.backward()
        optimizer.step()
    return losses


def alignment(model: nn.Sequential, teacher: Tensor) -> float:
    """The part of the neurons' norm that points along the teacher, sign ignored."""
    a, b = model[0].weight.detach(), model[2].weight.detach()[0]
    mass = a.norm(dim=1) * b.abs()
    return float((mass * nn.functional.cosine_similarity(a, teacher[None]) ** 2).sum() / mass.sum())


def run(name: str) -> Facts:
    """One training, named start/method/rate/seed."""
    title, method, rate, seed = name.split("/")
    model = start(title, int(seed))
    prepare(model, example(model), method)
    if title in IMAGES:
        x, y, _, _ = fashion_mnist(SETTINGS["images"], 1, pool=2)
        schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed))
        return train(model, x.flatten(1), y, None, schedule)
    if title in CURVE:
        x = torch.linspace(0, 1, 500, dtype=torch.float64)[:, None]
        adam = torch.optim.Adam(model.parameters(), float(rate))
        losses = full_batch(model, adam, x, (x - x**3)[:, 0], SETTINGS["curve_steps"])
        return {"loss": [losses[0], min(losses)] if np.isfinite(losses[-1]) else losses[-1:]}
    generator = torch.Generator().manual_seed(100 + int(seed))
    x, teacher = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((200, DIMENSION), (DIMENSION,))
    )
    teacher /= teacher.norm()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    # Gradients carry 1 / WIDTH and the other factor, alpha.
    step = float(rate) * WIDTH / max(1.0, float(title.split()[1]) ** 2)
    descent = torch.optim.SGD(model.parameters(), step)
    losses = full_batch(model, descent, x, (x @ teacher).relu(), SETTINGS["scale_steps"])
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {
        "loss": [losses[0], losses[-1]],
        "relative_distance": float((after - before).norm() / before.norm()),
        "alignment": alignment(model, teacher),
    }


def final_loss(facts: Facts) -> float:
    """The last training loss, for curves the smallest; infinite if training diverged."""
    loss = facts["loss"][-1]
    return float(loss) if np.isfinite(loss) else np.inf


def plot(record: Record, path: Path | None) -> None:
    """Loss with the optimum over loss without; for the last family what the neurons did."""
    found = best(by_rate(record, final_loss))
    starts = [s for s in (*IMAGES, *CURVE, *ALPHAS) if all((s, m) in found for m in METHODS)]
    alphas = [s for s in ALPHAS if s in starts]
    with canvas(3, path) as axes:
        for k, title in enumerate(starts):
            plain, conditioned = (found[title, method][1] for method in METHODS)
            ratios = np.array(conditioned) / np.array(plain)
            axes[0].plot(ratios, np.full(len(ratios), k), "o", alpha=0.7)
        axes[0].axvline(1, color="grey", lw=0.7)
        axes[0].set(xscale="log", xlim=(1e-3, 1e2), xlabel="final loss, optimum / none")
        axes[0].set_yticks(range(len(starts)), starts, fontsize=7)
        for ax, key in zip(axes[1:], ("relative_distance", "alignment"), strict=True):
            for method in METHODS:
                values = []
                for s in alphas:
                    stem = f"{s}/{method}/{found[s, method][0]}/"
                    runs = [f for n, f in record.runs.items() if n.startswith(stem)]
                    values.append(np.median([f[key] for f in runs if np.isfinite(final_loss(f))]))
                ax.plot([float(s.split()[1]) for s in alphas], values, "o-", label=method)
            ax.set(xscale="log", xlabel="alpha", title=key.replace("_", " "))
        axes[1].set(yscale="log")
        axes[2].legend(fontsize=8)


def main() -> None:
    options = arguments(__doc__)
    seeds = SEEDS
    rates = {IMAGES: IMAGE_RATES, CURVE: CURVE_RATES, ALPHAS: ALPHA_RATES}
    if options.quick:
        SETTINGS.update(images=200, epochs=1, curve_steps=3, scale_steps=3)
        seeds, rates = (0,), {family: (some[1],) for family, some in rates.items()}
    runs = [run for family, some in rates.items() for run in names(family, METHODS, some, seeds)]
    record = Record.open("initialisations", SETTINGS, options)
    if not options.plot:
        record.run(runs, run, "initialisations")
    plot(record, picture("initialisations", options))
    for (title, method), (rate, losses) in best(by_rate(record, final_loss)).items():
        shown = ", ".join(f"{loss:.3g}" for loss in losses)
        print(f"{title}, {method}: best rate {rate:g}, final loss {shown}")


if __name__ == "__main__":
    main()
