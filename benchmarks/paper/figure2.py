"""``python -m benchmarks.paper.figure2``: epochs to a training accuracy, against depth.

Multilayer perceptrons 784-128^k-10 on Fashion-MNIST (the paper has 3072-500^k-10 on CIFAR-10, the
same ratio of widths), stochastic gradient descent without momentum, PyTorch's default
initialisation: as it is, with a cycle of ENorm after every step, rescaled once by the paper's ten
sweeps, and rescaled once to the optimum; the smallest and the largest depth also with every scale
within a factor of 2. Every method with every learning rate.

With ``--cifar10 FOLDER`` on CIFAR-10's binary version.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .cifar import cifar10
from .fashion import fashion_mnist
from .methods import BOUNDED, METHODS, prepare
from .rates import best, by_rate, draw, names
from .record import Facts, Record, arguments, picture
from .training import Schedule, train

DEPTHS = (3, 8, 5, 6, 4, 7)  # hidden layers; the order in which they are run
RATES = (0.05, 0.1, 0.2, 0.4, 0.8)
SEEDS = (0, 1, 2)
SETTINGS = {"width": 128, "images": 10_000, "epochs": 20, "target": 0.85}


def network(depth: int, inputs: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in itertools.pairwise([inputs, *[SETTINGS["width"]] * depth]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(SETTINGS["width"], 10))


def run(name: str, x: Tensor, y: Tensor) -> Facts:
    """One training, named depth/method/rate/seed, on images and labels."""
    depth, method, rate, seed = name.split("/")
    model = network(int(depth), x[0].numel(), int(seed))
    after_step = prepare(model, x[:1], method)
    schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed), SETTINGS["target"])
    return train(model, x, y, None, schedule, after_step)


def epochs_to_target(facts: Facts, target: float | None = None) -> float:
    """Epochs until a training accuracy, by default the target; infinite if it was not reached."""
    reached = np.array(facts["train_accuracy"]) >= (target or SETTINGS["target"])
    return float(np.argmax(reached)) + 1 if reached.any() else np.inf


def main() -> None:
    options = arguments(__doc__, cifar10="folder with CIFAR-10's binary version, to train on it")
    title = "figure2-cifar10" if options.cifar10 else "figure2"
    runs = names(DEPTHS, METHODS, RATES, SEEDS)
    runs += names((min(DEPTHS), max(DEPTHS)), BOUNDED[:1], RATES, SEEDS)
    if options.quick:
        SETTINGS.update(width=32, images=500, epochs=3, target=0.7)
        runs = names((3,), METHODS, (0.03,), (0,))
    record = Record.open(title, SETTINGS, options)
    if not options.plot:
        if options.cifar10:
            x, y = cifar10(Path(options.cifar10), SETTINGS["images"])
        else:
            x, y, _, _ = fashion_mnist(SETTINGS["images"], 1)
        record.run(runs, lambda name: run(name, x, y), "figure 2")
    found = by_rate(record, epochs_to_target)
    quantity = f"epochs to {SETTINGS['target']:.0%} training accuracy"
    draw(found, quantity, "hidden layers", picture(title, options), SETTINGS["epochs"] + 1)
    for (depth, method), (rate, epochs) in sorted(best(found).items()):
        print(f"{depth} hidden layers, {method:10s}: best rate {rate:g}, epochs {sorted(epochs)}")


if __name__ == "__main__":
    main()
