"""How diag(G) spreads within every initialiser, before and after a rescaling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..engine.factors import factors
from ..engine.graph import RescalingGraph
from ..engine.spread import Spread, log10_quantiles
from .lift import Lift
from .network import Network
from .tape import Array

__all__ = ["spreads"]


def spreads(
    network: Network, graph: RescalingGraph, exponents: npt.NDArray[np.float64]
) -> tuple[Spread, ...]:
    """Quantiles of diag(G) per initialiser that a path goes through.

    A rescaling multiplies a weight by s and its entry of diag(G) by 1/s².

    Args:
        network: as it was; not changed.
        graph: of the network.
        exponents: log2 λ per neuron, shape (H,).
    """
    extended = graph.extended(exponents)
    found: dict[int, Spread] = {}

    def ready(number: int, value: Array, exponent: int) -> None:
        if not (value > 0).any():
            return
        after, pair = value, factors(graph, extended, number, power=-2.0)
        if pair is not None:
            after = value * pair[0] * pair[1]
        both = [log10_quantiles(x[x > 0], exponent) for x in (value, after)]
        found[number] = Spread(graph.parameters[number].name, *both)

    Lift(network, graph).differentiate(ready)
    return tuple(found[number] for number in sorted(found))
