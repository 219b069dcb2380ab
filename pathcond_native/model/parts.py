"""Weights of rows of B, parameter by parameter as they are produced: aligned, and summed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..device_arrays import on_device
from ..errors import InvalidInputError
from ..frameworks import Torch
from ..structured import Reduced, reduced
from .graph import RescalingGraph
from .scaled import extremes, shift

__all__ = ["Ready", "aligned", "reduced_parts"]

Ready = Callable[[int, Tensor, int], None]
"""Takes the number of a parameter, and value · 2^exponent of its shape."""


def reduced_parts(
    graph: RescalingGraph,
    produce: Callable[[Ready], None],
    device: torch.device,
    *,
    reduce: bool = True,
) -> list[Tensor | Reduced]:
    """Weights in float64 per parameter, for `solve(graph, ...)`.

    Args:
        graph: of the model.
        produce: calls what it is given once for each parameter whose weights are not 0.
        device: of the weights.
        reduce: sum where rows of B are equal, as soon as a parameter's weights are known, and drop
            them.

    Raises:
        InvalidInputError: a weight is negative or not finite.
    """
    reductions: dict[int, Reduced] = {}
    found: dict[int, tuple[Tensor, int]] = {}
    panels = graph.panels if reduce else None
    framework = Torch(device)

    def ready(number: int, value: Tensor, exponent: int) -> None:
        if panels is not None and value.device.type == "cpu" and not on_device(value):
            reduction = reduced(panels[number][1], value.reshape(-1).numpy())
            if reduction is not None:
                reductions[number] = reduction
                value = torch.from_numpy(reduction.sums)
        found[number] = value.double(), exponent

    produce(ready)
    for number, value in zip(found, aligned(list(found.values())), strict=True):
        found[number] = value, 0
    parts: list[Tensor | Reduced] = []
    for number, info in enumerate(graph.parameters):
        if number in reductions:
            sums = found[number][0].numpy()
            parts.append(replace(reductions[number], sums=sums, framework=framework))
        elif number in found:
            parts.append(found[number][0])
        else:
            parts.append(torch.zeros(info.shape, dtype=torch.float64, device=device))
    return parts


def aligned(gradients: list[tuple[Tensor, int]]) -> list[Tensor]:
    """value · 2^exponent, all moved by one power of two only if some entry leaves the range.

    Raises:
        InvalidInputError: an entry is not finite.
    """
    dtype = gradients[0][0].dtype if gradients else torch.float64
    limit = math.frexp(torch.finfo(dtype).max)[1] - 40  # headroom for the sum over g
    spans = [span for value, exponent in gradients for span in _span(value, exponent)]
    smallest, largest = min(spans, default=0), max(spans, default=0)
    if -limit <= smallest and largest <= limit:
        return [shift(value, exponent) for value, exponent in gradients]
    moved = [shift(value, exponent + limit - largest) for value, exponent in gradients]
    tiny = torch.finfo(dtype).tiny
    return [
        torch.where(value > 0, x.clamp_min(tiny), x)
        for (value, _), x in zip(gradients, moved, strict=True)
    ]


def _span(value: Tensor, exponent: int) -> list[int]:
    """Exponents of the smallest and the largest positive entry; empty if there is none."""
    low, high = extremes(value)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInputError(
            "model: diag(G) is not finite; a buffer or constant holds NaN or infinity, or the "
            "model divides by 0, as a weight norm does at a row of zeros"
        )
    if low < 0:
        raise InvalidInputError(
            "model: diag(G) has negative entries; a running variance, for one, is negative"
        )
    if high <= 0:
        return []
    low = low or float(value[value > 0].min())
    return [exponent + math.frexp(x)[1] for x in (low, high)]
