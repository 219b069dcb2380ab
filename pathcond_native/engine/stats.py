"""`Stats`: what a network looks like to the rescaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graph import RescalingGraph
from .groups import Pinned, Unsupported
from .report import pinned_table, unsupported_table

__all__ = ["Paths", "Stats", "stats_of"]


@dataclass(frozen=True)
class Paths:
    """A number of paths: `exact`, or None where that would take too long or is no integer."""

    log10: float
    exact: int | None


@dataclass(frozen=True)
class Stats:
    """Counts and spreads of a model; prints as a table.

    A path runs from an input, or from where other paths end, to an output along one connection per
    operator. It counts whatever the value of its weights, averages and normalisations as
    connections; constants that are 0 cut it.
    """

    parameters: int
    """Number of scalar parameters, p."""
    neurons: int
    """Number of rescalable neurons, H."""
    pinned_channels: int
    """Number of channels that cannot be rescaled."""
    paths: int | None
    """Number of paths that start at an input; None if it is too expensive to count exactly, or no
    integer, where an operator such as bilinear interpolation weighs its connections."""
    log10_paths: float
    """Its base-10 logarithm, always given; -inf for no path."""
    paths_with_biases: int | None
    """Number of paths that start at an input or at a bias (also of a normalisation)."""
    log10_paths_with_biases: float
    """Its base-10 logarithm."""
    g_min: float
    """Smallest positive entry of diag(G); nan if there is none."""
    g_median: float
    """Median of the positive entries."""
    g_max: float
    """Largest entry."""
    log10_spread: float
    """log10(g_max / g_min)."""
    g_zeros: int
    """Number of parameters that no path goes through, with an entry 0."""
    pinned: tuple[Pinned, ...]
    """Channels that cannot be rescaled, with the reason."""
    unsupported: tuple[Unsupported, ...]
    """Operators that end paths, with the reason."""

    def __str__(self) -> str:
        rows = [
            ("parameters", f"{self.parameters:,}"),
            ("rescalable neurons", f"{self.neurons:,}"),
            ("pinned channels", f"{self.pinned_channels:,}"),
            ("paths", _amount(self.paths, self.log10_paths)),
            ("  with biases", _amount(self.paths_with_biases, self.log10_paths_with_biases)),
            ("diag(G), smallest", f"{self.g_min:.3e}"),
            ("  median", f"{self.g_median:.3e}"),
            ("  largest", f"{self.g_max:.3e}"),
            ("  spread", f"{self.log10_spread:.1f} decades"),
            ("  zeros", f"{self.g_zeros:,}"),
        ]
        parts = [
            [f"{name:<20}{value}" for name, value in rows],
            pinned_table(self.pinned),
            unsupported_table(self.unsupported),
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines)


def stats_of(
    graph: RescalingGraph, g: Sequence[npt.NDArray[np.floating]], plain: Paths, biased: Paths
) -> Stats:
    """Counts and spreads from diag(G), in parts, and the numbers of paths."""
    positive = np.concatenate([part[part > 0] for part in g])
    low, middle, high = (
        (float(f(positive)) for f in (np.min, np.median, np.max))
        if len(positive)
        else (math.nan,) * 3
    )
    return Stats(
        parameters=graph.shape[0],
        neurons=graph.shape[1],
        pinned_channels=sum(x.channels for x in graph.pinned),
        paths=plain.exact,
        log10_paths=plain.log10,
        paths_with_biases=biased.exact,
        log10_paths_with_biases=biased.log10,
        g_min=low,
        g_median=middle,
        g_max=high,
        log10_spread=math.log10(high) - math.log10(low) if len(positive) else math.nan,
        g_zeros=graph.shape[0] - len(positive),
        pinned=graph.pinned,
        unsupported=graph.unsupported,
    )


def _amount(n: int | None, log10: float) -> str:
    if n is not None and n < 10**15:
        return f"{n:,}"
    return f"10^{log10:.3f}" + (" (known exactly)" if n is not None else "")
