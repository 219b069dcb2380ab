"""``python -m benchmarks.paper.figure3``: a convolutional network, training and test curves.

CIFAR-NV (Gitman & Ginsburg, arXiv 1709.08145) with a sixteenth of its channels and, as in the paper,
batch normalisation after the last layer, on Fashion-MNIST at 14 x 14; stochastic gradient descent.
From PyTorch's default initialisation, whose variance is small, and from He's, uniform. Every method
with every learning rate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .fashion import fashion_mnist
from .methods import METHODS, prepare
from .rates import best, by_rate, names
from .record import Facts, Record, arguments, canvas, picture
from .training import Schedule, train

STARTS = ("default", "He")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
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
        for block, kernel in ((c,) * 3, 3), ((2 * c,) * 3, 3), ((5 * c // 2,), 3), ((5 * c // 2,), 1):
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
    return float(np.median(np.nan_to_num(facts["loss"][-3:], nan=np.inf)))


def draw(record: Record, path: Path | None) -> None:
    """Loss over learning rates; at the best one, training loss and both accuracies over epochs."""
    found = by_rate(record, late_loss)
    with canvas(4, path) as axes:
        for colour, ((channels, method), (rate, _)) in enumerate(best(found).items()):
            rates = found[channels, method]
            medians = [np.median(values) for values in rates.values()]
            axes[0].plot(list(rates), medians, f"C{colour}.-")
            runs = [record.runs[f"{channels}/{method}/{rate:g}/{seed}"] for seed in SEEDS]
            for ax, curve in zip(
                axes[1:], ("loss", "train_accuracy", "test_accuracy"), strict=True
            ):
                values = np.array([facts[curve] for facts in runs if len(facts[curve]) > 1])
                epochs = np.arange(1, values.shape[1] + 1)
                ax.plot(epochs, values.mean(0), f"C{colour}", label=f"{method}, rate {rate:g}")
                ax.fill_between(epochs, values.min(0), values.max(0), color=f"C{colour}", alpha=0.2)
                ax.set(xlabel="epoch", title=curve.replace("_", " "))
        axes[0].set(xscale="log", xlabel="learning rate", title="training loss at the end")
        axes[1].set_title("training loss")
        axes[1].legend(fontsize=7)


def main() -> None:
    options = arguments(__doc__)
    runs = names((SETTINGS["channels"],), METHODS, RATES, SEEDS)
    if options.quick:
        SETTINGS.update(channels=4, images=200, test_images=100, epochs=2)
        runs = names((4,), METHODS, (0.03,), SEEDS)
    record = Record.open("figure3", SETTINGS, options)
    if not options.plot:
        record.run(runs, run, "figure 3")
    draw(record, picture("figure3", options))
    for (_, method), (rate, losses) in best(by_rate(record, late_loss)).items():
        shown = ", ".join(f"{loss:.3f}" for loss in sorted(losses))
        print(f"{method:10s}: best rate {rate:g}, training loss {shown}")


if __name__ == "__main__":
    main()
