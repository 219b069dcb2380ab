"""``python -m benchmarks.paper.figure2``: epochs to a training accuracy, against depth.

Multilayer perceptrons 784-500^k-10 on Fashion-MNIST, stochastic gradient descent without momentum,
PyTorch's default initialisation: as it is, with a cycle of ENorm after every step, rescaled once by
the paper's ten sweeps, and rescaled once to the optimum. Every method with every learning rate.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .fashion import fashion_mnist
from .methods import METHODS, prepare
from .record import Facts, Record, arguments, picture
from .training import Schedule, train

DEPTHS = (3, 5, 8, 4, 6, 7)  # hidden layers; the order in which they are run
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
SEEDS = (0, 1, 2)
SETTINGS = {"width": 500, "images": 10_000, "epochs": 30, "target": 0.95}


def network(depth: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in itertools.pairwise([784, *[SETTINGS["width"]] * depth]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(SETTINGS["width"], 10))


def run(name: str) -> Facts:
    """One training, named depth/method/rate/seed."""
    depth, method, rate, seed = name.split("/")
    x, y, x_test, y_test = fashion_mnist(SETTINGS["images"], 10_000)
    model = network(int(depth), int(seed))
    after_step = prepare(model, x[:1], method)
    schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed), SETTINGS["target"])
    return train(model, x, y, (x_test, y_test), schedule, after_step)


def epochs_to_target(facts: Facts) -> float:
    """Epochs until the training accuracy was reached; infinite if it was not."""
    reached = np.array(facts["train_accuracy"]) >= SETTINGS["target"]
    return float(np.argmax(reached)) + 1 if reached.any() else np.inf


def summary(record: Record) -> dict[tuple[int, str], dict[float, list[float]]]:
    """Per depth and method: learning rate to the epochs of every seed."""
    found: dict[tuple[int, str], dict[float, list[float]]] = {}
    for name, facts in record.runs.items():
        depth, method, rate, _ = name.split("/")
        rates = found.setdefault((int(depth), method), {})
        rates.setdefault(float(rate), []).append(epochs_to_target(facts))
    return found


def plot(record: Record, path: Path | None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = summary(record)
    depths = sorted({depth for depth, _ in found})
    figure, axes = pyplot.subplots(
        1, len(depths) + 1, figsize=(3.2 * (len(depths) + 1), 3.6), sharey=True
    )
    for colour, method in zip(("C0", "C1", "C2", "C3"), METHODS, strict=True):
        best = []
        for ax, depth in zip(axes, depths, strict=False):
            rates = found.get((depth, method), {})
            median = [np.median(epochs) for epochs in rates.values()]
            for k, epochs in enumerate(zip(*rates.values(), strict=False)):
                ax.plot(list(rates), epochs, ".", color=colour, alpha=0.4, label=None if k else "")
            ax.plot(list(rates), median, "-", color=colour)
            ax.set(xscale="log", xlabel="learning rate", title=f"{depth} hidden layers")
            best.append(min(median, default=np.inf))
        axes[-1].plot(depths, best, "o-", color=colour, label=method)
    axes[0].set(ylabel=f"epochs to {SETTINGS['target']:.0%} training accuracy")
    axes[-1].set(xlabel="hidden layers", title="at the best learning rate")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    if path is not None:
        figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    options = arguments(__doc__)
    names = ["/".join(map(str, n)) for n in itertools.product(DEPTHS, METHODS, RATES, SEEDS)]
    if options.quick:
        SETTINGS.update(width=32, images=500, epochs=3, target=0.7)
        names = ["/".join(map(str, n)) for n in itertools.product((3,), METHODS, (0.03,), (0,))]
    record = Record.open("figure2", SETTINGS, options)
    if options.plot:
        names = [name for name in names if name in record.runs]
    record.run(names, run, "figure 2")
    plot(record, picture("figure2", options))
    for (depth, method), rates in sorted(summary(record).items()):
        rate, epochs = min(rates.items(), key=lambda item: (np.median(item[1]), item[0]))
        print(
            f"{depth} hidden layers, {method:10s}: best learning rate {rate:g}, epochs "
            f"{sorted(epochs)}"
        )


if __name__ == "__main__":
    main()
