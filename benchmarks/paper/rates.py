"""Trainings named setting/method/learning rate/seed: every method with every learning rate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .methods import BOUNDED, METHODS
from .record import Facts, Record, canvas

__all__ = ["best", "by_rate", "draw", "names"]

Table = dict[tuple[str, str], dict[float, list[float]]]
"""(setting, method): learning rate to the value of every seed."""


def names(*parts: Iterable[object]) -> list[str]:
    """All runs, the last part changing fastest."""
    return ["/".join(map(str, name)) for name in itertools.product(*parts)]


def by_rate(record: Record, value: Callable[[Facts], float]) -> Table:
    """What `value` says of every run."""
    found: Table = {}
    for name, facts in record.runs.items():
        setting, method, rate, _ = name.split("/")
        found.setdefault((setting, method), {}).setdefault(float(rate), []).append(value(facts))
    return found


def best(found: Table) -> dict[tuple[str, str], tuple[float, list[float]]]:
    """The learning rate with the smallest median, the smaller one of two, and its values."""
    return {
        key: min(rates.items(), key=lambda item: (np.median(item[1]), item[0]))
        for key, rates in found.items()
    }


def draw(found: Table, quantity: str, setting: str, path: Path | None, top: float) -> None:
    """A panel per setting over the learning rates, and one at every method's best rate.

    What is above `top`, failures included, is drawn there.
    """
    settings = sorted({s for s, _ in found}, key=float)
    methods = [m for m in (*METHODS, *BOUNDED) if any((s, m) in found for s in settings)]
    with canvas(len(settings) + 1, path) as axes:
        for colour, method in enumerate(methods):
            medians: dict[float, float] = {}
            for ax, s in zip(axes, settings, strict=False):
                if (s, method) not in found:
                    continue
                rates = found[s, method]
                seeds = np.minimum(list(rates.values()), top)
                ax.plot(list(rates), seeds, ".", color=f"C{colour}", alpha=0.4)
                ax.plot(list(rates), np.median(seeds, 1), "-", color=f"C{colour}")
                ax.set(xscale="log", xlabel="learning rate", title=f"{setting} {s}")
                ax.set(ylim=(0, 1.05 * top))
                ax.minorticks_off()
                ax.set_xticks(list(rates), [f"{rate:g}" for rate in rates], fontsize=7)
                medians[float(s)] = np.median(seeds, 1).min()
            axes[-1].plot(
                *zip(*medians.items(), strict=True), "o-", color=f"C{colour}", label=method
            )
        axes[0].set(ylabel=quantity)
        axes[-1].set(xlabel=setting, title="at the best learning rate")
        axes[-1].set(ylim=(0, 1.05 * top))
        axes[-1].legend(fontsize=8)
