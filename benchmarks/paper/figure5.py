"""``python -m benchmarks.paper.figure5``: autoencoders, final training loss against compression.

Fully connected autoencoders on Fashion-MNIST whose encoder shrinks by one factor per layer,
196, 196/c, 196/c^2, 196/c^3, and whose decoder mirrors it; Kaiming uniform initialisation,
stochastic gradient descent. The paper's formula for the widths is lost in its public text; this is
our reading. Every method with every learning rate.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from .fashion import fashion_mnist
from .methods import BOUNDED, METHODS, prepare
from .rates import best, by_rate, draw, names
from .record import Facts, Record, arguments, picture
from .training import Schedule, train

FACTORS = (1.5, 2.0, 2.5, 3.0)
RATES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
SEEDS = (0, 1, 2)
SETTINGS = {"images": 10_000, "epochs": 12, "pixels": 196}


def network(factor: float, seed: int) -> nn.Sequential:
    """The autoencoder; weights Kaiming uniform for ReLU, biases zero."""
    widths = [round(196 / factor**k) for k in range(4)]
    layers: list[nn.Module] = [nn.Flatten()]
    generator = torch.Generator().manual_seed(seed)
    for a, b in itertools.pairwise([*widths, *widths[-2::-1]]):
        layer = nn.Linear(a, b)
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def run(name: str) -> Facts:
    """One training, named factor/method/rate/seed."""
    factor, method, rate, seed = name.split("/")
    x, _, _, _ = fashion_mnist(SETTINGS["images"], 1, pool=2)
    model = network(float(factor), int(seed))
    after_step = prepare(model, x[:1], method)
    schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed))
    return train(model, x, None, None, schedule, after_step)


def final_loss(facts: Facts) -> float:
    """The last training loss; infinite if training diverged."""
    loss = facts["loss"][-1]
    return float(loss) if np.isfinite(loss) else np.inf


def main() -> None:
    options = arguments(__doc__)
    runs = names(FACTORS, (*METHODS, BOUNDED[0]), RATES, SEEDS)
    if options.quick:
        SETTINGS.update(images=300, epochs=2)
        runs = names((3.0,), METHODS, (0.1,), (0,))
    record = Record.open("figure5", SETTINGS, options)
    if not options.plot:
        record.run(runs, run, "figure 5")
    found = by_rate(record, final_loss)
    draw(found, "final training loss", "compression", picture("figure5", options), top=0.8)
    for (factor, method), (rate, losses) in sorted(best(found).items()):
        shown = ", ".join(f"{loss:.4f}" for loss in sorted(losses))
        print(f"compression {factor}, {method:10s}: best rate {rate:g}, loss {shown}")


if __name__ == "__main__":
    main()
