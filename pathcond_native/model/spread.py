"""How diag(G) spreads within every parameter, before and after a rescaling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..engine.factors import factors
from ..engine.graph import RescalingGraph
from ..engine.spread import Spread, log10_quantiles
from .lift import Lift

__all__ = ["spreads"]


def spreads(
    model: nn.Module, graph: RescalingGraph, exponents: npt.NDArray[np.float64]
) -> tuple[Spread, ...]:
    """Measure the spread of diag(G), one parameter at a time: nothing of size p is made.

    A rescaling multiplies a parameter by s and its entry of diag(G) by 1/s².

    Args:
        model: as it was; not changed.
        graph: of the model.
        exponents: log2 λ per neuron, shape (H,).

    Returns:
        One entry per parameter that a path goes through, in the order of ``model.parameters()``.
    """
    extended = graph.extended(exponents)
    found: dict[int, Spread] = {}

    def ready(number: int, value: Tensor, exponent: int) -> None:
        if not bool((value > 0).any()):
            return
        before, after = value, value
        pair = factors(graph, extended, number, power=-2.0)
        if pair is not None:
            first, second = (torch.from_numpy(x).to(value.device) for x in pair)
            after = (value.reshape(graph.parameters[number].shape) * first).mul_(second)
        name = graph.parameters[number].name
        both = [log10_quantiles(_positive(x), exponent) for x in (before, after)]
        found[number] = Spread(name, *both)

    Lift(graph, model, torch.float64).differentiate(ready)
    return tuple(found[number] for number in sorted(found))


def _positive(g: Tensor) -> npt.NDArray[np.floating]:
    return g[g > 0].cpu().numpy()
