"""``python -m benchmarks.paper.figure5``: autoencoders, final training loss against compression.

Fully connected autoencoders on Fashion-MNIST whose encoder shrinks by one factor per layer,
784, 784/c, 784/c^2, 784/c^3, and whose decoder mirrors it; Kaiming uniform initialisation,
stochastic gradient descent. The paper's formula for the widths is lost in its public text; this is
our reading. Every method with every learning rate.
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

FACTORS = (1.5, 2.0, 3.0, 4.0)
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SEEDS = (0, 1, 2)
SETTINGS = {"images": 10_000, "epochs": 15}


def network(factor: float, seed: int) -> nn.Sequential:
    """The autoencoder; weights Kaiming uniform for ReLU, biases zero."""
    widths = [round(784 / factor**k) for k in range(4)]
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
    x, _, _, _ = fashion_mnist(SETTINGS["images"], 1)
    model = network(float(factor), int(seed))
    after_step = prepare(model, x[:1], method)
    schedule = Schedule(SETTINGS["epochs"], float(rate), int(seed))
    return train(model, x, None, None, schedule, after_step)


def final_losses(record: Record) -> dict[tuple[float, str], dict[float, list[float]]]:
    """Per factor and method: learning rate to the final loss of every seed, infinite if lost."""
    found: dict[tuple[float, str], dict[float, list[float]]] = {}
    for name, facts in record.runs.items():
        factor, method, rate, _ = name.split("/")
        loss = facts["loss"][-1] if np.isfinite(facts["loss"][-1]) else np.inf
        found.setdefault((float(factor), method), {}).setdefault(float(rate), []).append(loss)
    return found


def plot(record: Record, path: Path | None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = final_losses(record)
    factors = sorted({factor for factor, _ in found})
    figure, axes = pyplot.subplots(
        1, len(factors) + 1, figsize=(3.2 * (len(factors) + 1), 3.6), sharey=True
    )
    for colour, method in zip(("C0", "C1", "C2", "C3"), METHODS, strict=True):
        best = []
        for ax, factor in zip(axes, factors, strict=False):
            rates = found.get((factor, method), {})
            median = [np.median(losses) for losses in rates.values()]
            for losses in itertools.zip_longest(*rates.values(), fillvalue=np.nan):
                ax.plot(list(rates), losses, ".", color=colour, alpha=0.4)
            ax.plot(list(rates), median, "-", color=colour)
            ax.set(xscale="log", xlabel="learning rate", title=f"compression {factor:g}")
            best.append(min(median, default=np.inf))
        axes[-1].plot(factors, best, "o-", color=colour, label=method)
    axes[0].set(ylabel="final training loss", yscale="log")
    axes[-1].set(xlabel="compression factor", title="at the best learning rate")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    if path is not None:
        figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    options = arguments(__doc__)
    names = ["/".join(map(str, n)) for n in itertools.product(FACTORS, METHODS, RATES, SEEDS)]
    if options.quick:
        SETTINGS.update(images=300, epochs=2)
        names = ["/".join(map(str, n)) for n in itertools.product((4.0,), METHODS, (0.1,), (0,))]
    record = Record.open("figure5", SETTINGS, options)
    if options.plot:
        names = [name for name in names if name in record.runs]
    record.run(names, run, "figure 5")
    plot(record, picture("figure5", options))
    for (factor, method), rates in sorted(final_losses(record).items()):
        rate, losses = min(rates.items(), key=lambda item: (np.median(item[1]), item[0]))
        shown = ", ".join(f"{loss:.4f}" for loss in sorted(losses))
        print(f"compression {factor:g}, {method:10s}: best learning rate {rate:g}, loss {shown}")


if __name__ == "__main__":
    main()
