"""``python -m benchmarks.paper.figure3``: a convolutional network, training and test curves.

CIFAR-NV (Gitman & Ginsburg, arXiv 1709.08145) with a sixteenth of its channels and, as in the
paper, batch normalisation after the last layer, on Fashion-MNIST at 14 x 14; stochastic gradient
descent. From PyTorch's default initialisation, whose variance is small, and from He's, uniform.
Every method with every learning rate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .fashion import fashion_mnist
from .methods import BOUNDED, METHODS, prepare
from .rates import best, by_rate, names
from .record import Facts, Record, arguments, canvas, picture
from .training import Schedule, train

STARTS = ("default", "He")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
SEEDS = (0, 1, 2)
SETTINGS = {
    "channels": 8,
    "images": 6_000,
    "test_images": 1_000,
    "epochs": 8,
    "batch": 64,
    "pixels": 196,
}


def network(start: str, seed: int) -> nn.Sequential:
    """Convolutions of c c c | 2c 2c 2c | 5c/2 5c/2 channels, the mean of every channel, a layer."""
    c = SETTINGS["channels"]
    layers: list[nn.Module] = []
    inputs = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for block, kernel in (
            ((c,) * 3, 3),
            ((2 * c,) * 3, 3),
            ((5 * c // 2,), 3),
            ((5 * c // 2,), 1),
        ):
            for outputs in block:
                layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
                inputs = outputs
            if len(block) > 1:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
        for layer in layers:
            if start == "He" and isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, nn.BatchNorm1d(10))


def run(name: str) -> Facts:
    """One training, named start/method/rate/seed."""
    start, method, rate, seed = name.split("/")
    x, y, *held_out = fashion_mnist(SETTINGS["images"], SETTINGS["test_images"], pool=2)
    model = network(start, int(seed))
    after_step = prepare(model, x[:1], method)
    schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed), batch=SETTINGS["batch"])
    return train(model, x, y, (held_out[0], held_out[1]), schedule, after_step)


def late_loss(facts: Facts) -> float:
    """The median training loss of the last three epochs; infinite if training diverged."""
    losses = np.array(facts["loss"][-3:])
    return float(np.median(np.where(np.isfinite(losses), losses, np.inf)))


def curves(ax: Any, runs: list[Facts], curve: str, **style: str) -> None:
    """The mean over the seeds, and from the smallest to the largest."""
    shortest = min(len(facts[curve]) for facts in runs)
    values = np.array([facts[curve][:shortest] for facts in runs])
    epochs = np.arange(1, shortest + 1)
    ax.plot(epochs, values.mean(0), **style)
    ax.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.15)
    ax.set(xlabel="epoch", title=curve.replace("_", " "))


def draw(record: Record, path: Path | None) -> None:
    """Loss over learning rates from both starts; from the first, curves at every best rate."""
    found = by_rate(record, late_loss)
    with canvas(5, path) as axes:
        for k, method in enumerate((*METHODS, *BOUNDED[1:])):
            color = f"C{k}"
            for ax, start in zip(axes, STARTS, strict=False):
                rates = found.get((start, method), {})
                ax.plot(list(rates), [np.median(v) for v in rates.values()], ".-", color=color)
                ax.set(xscale="log", xlabel="learning rate", title=f"{start}: loss at the end")
            if (STARTS[0], method) not in found:
                continue
            rate, _ = best(found)[STARTS[0], method]
            stem = f"{STARTS[0]}/{method}/{rate}/"
            runs = [facts for name, facts in record.runs.items() if name.startswith(stem)]
            for ax, curve in zip(
                axes[2:], ("loss", "train_accuracy", "test_accuracy"), strict=True
            ):
                curves(ax, runs, curve, color=color, label=f"{method}, rate {rate:g}")
        axes[2].set(title="training loss", yscale="log")
        axes[4].legend(fontsize=7)


def main() -> None:
    options = arguments(__doc__)
    rates, seeds = RATES, SEEDS
    if options.quick:
        SETTINGS.update(channels=4, images=200, test_images=100, epochs=2)
        rates, seeds = (0.03,), (0,)
    runs = [
        *names(STARTS[:1], (*METHODS, *BOUNDED[1:]), rates, seeds),
        *names(STARTS[1:], METHODS, rates, seeds),
    ]
    record = Record.open("figure3", SETTINGS, options)
    if not options.plot:
        record.run(runs, run, "figure 3")
    draw(record, picture("figure3", options))
    for (start, method), (rate, losses) in best(by_rate(record, late_loss)).items():
        shown = ", ".join(f"{loss:.3f}" for loss in losses)
        print(f"{start}, {method}: best rate {rate:g}, training loss {shown}")


if __name__ == "__main__":
    main()
