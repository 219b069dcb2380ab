"""How diag(G) spreads within every parameter, before and after a rescaling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .apply import factors
from .graph import RescalingGraph
from .lift import Lift

__all__ = ["QUANTILES", "Spread", "spreads"]

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

_LOG10_2 = math.log10(2.0)


@dataclass(frozen=True)
class Spread:
    """Quantiles of log10 of one parameter's positive entries of diag(G), at `QUANTILES`."""

    parameter: str
    """Its name."""
    before: tuple[float, ...]
    """In the model as it was."""
    after: tuple[float, ...]
    """In the rescaled model."""


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
        found[number] = Spread(name, _quantiles(before, exponent), _quantiles(after, exponent))

    Lift(graph, model, torch.float64).differentiate(ready)
    return tuple(found[number] for number in sorted(found))


def _quantiles(g: Tensor, exponent: int) -> tuple[float, ...]:
    positive = g[g > 0].log10_().cpu().numpy()
    shift = exponent * _LOG10_2
    return tuple(float(x) + shift for x in np.quantile(positive, QUANTILES, overwrite_input=True))
