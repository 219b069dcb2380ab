"""Weights of rows of B, parameter by parameter as they are produced: aligned, and summed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..device_arrays import on_device
from ..engine.graph import RescalingGraph
from ..errors import InvalidInputError
from ..frameworks import Torch
from ..structured import Reduced, reduced
from .scaled import extremes, shift

__all__ = ["Keep", "Ready", "aligned", "reduced_parts"]

Ready = Callable[[int, Tensor, int], None]
"""Takes the number of a parameter, and value · 2^exponent of its shape."""

Keep = Callable[[Tensor, int], Tensor]
"""value · 2^exponent in float64, in memory or elsewhere; every entry is in range."""


def reduced_parts(
    graph: RescalingGraph,
    produce: Callable[[Ready], None],
    device: torch.device,
    *,
    reduce: bool = True,
    keep: Keep | None = None,
) -> list[Tensor | Reduced]:
    """Weights in float64 per parameter, for `solve(graph, ...)`.

    Args:
        graph: of the model.
        produce: calls what it is given once for each parameter whose weights are not 0.
        device: of the weights.
        reduce: sum where rows of B are equal, as soon as a parameter's weights are known, and drop
            them.
        keep: takes what is to be kept of every parameter; by default it stays in memory.

    Raises:
        InvalidInputError: a weight is negative or not finite.
    """
    reductions: dict[int, Reduced] = {}
    found: dict[int, tuple[Tensor, int]] = {}
    spans: list[list[int]] = []
    panels = graph.panels if reduce else None
    framework = Torch(device)

    def ready(number: int, value: Tensor, exponent: int) -> None:
        if panels is not None and value.device.type == "cpu" and not on_device(value):
            flat, ordered = value.reshape(-1).numpy(), keep is not None
            reduction = reduced(panels[number][1], flat, ordered=ordered)
            if reduction is not None:
                reductions[number] = replace(reduction, sums=np.empty(0))  # they may move
                value = torch.from_numpy(reduction.sums)
        spans.append(_span(value, exponent))
        if keep is None:
            found[number] = value.double(), exponent
        elif _fits(spans[-1:], torch.float64):
            found[number] = keep(value, exponent), 0
        else:
            found[number] = keep(value, 0), exponent

    produce(ready)
    kept = list(found.values())
    for number, (old, _), value in zip(found, kept, aligned(kept, spans), strict=True):
        found[number] = (value if keep is None or value is old else keep(value, 0)), 0
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


def aligned(
    gradients: list[tuple[Tensor, int]], spans: list[list[int]] | None = None
) -> Iterator[Tensor]:
    """value · 2^exponent, all moved by one power of two only if some entry leaves the range.

    `spans` is what `_span` says of each.

    Raises:
        InvalidInputError: an entry is not finite.
    """
    dtype = gradients[0][0].dtype if gradients else torch.float64
    spans = [_span(*x) for x in gradients] if spans is None else spans
    if _fits(spans, dtype):
        yield from (shift(value, exponent) for value, exponent in gradients)
        return
    up = _limit(dtype) - max(x for span in spans for x in span)
    tiny = torch.finfo(dtype).tiny
    for value, exponent in gradients:
        yield torch.where(value > 0, shift(value, exponent + up).clamp_min(tiny), value)


def _limit(dtype: torch.dtype) -> int:
    return math.frexp(torch.finfo(dtype).max)[1] - 40  # headroom for the sum over g


def _fits(spans: list[list[int]], dtype: torch.dtype) -> bool:
    limit = _limit(dtype)
    return all(-limit <= x <= limit for span in spans for x in span)


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
