"""Rules of convolutions and of tables of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..engine.facts import Ids
from ..engine.program import Step
from ..engine.rule import require_static
from ..engine.shapes import lead
from .convolution import Geometry
from .rule import Rule
from .tape import Scaled

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = ["CONVOLUTION", "TABLE", "TRANSPOSED_CONVOLUTION", "paddings"]


def paddings(
    step: Step,
    sizes: tuple[int, ...],
    out: tuple[int, ...],
    extents: list[int],
    strides: list[int],
) -> tuple[list[int], list[int]]:
    """Zeros before and after every spatial axis of what windows of these extents move over."""
    rank, mode = len(sizes), step["auto_pad"] or "NOTSET"
    if mode == "NOTSET":
        pads = list(step["pads"] or [0] * (2 * rank))
        return pads[:rank], pads[rank:]
    if mode == "VALID":
        return [0] * rank, [0] * rank
    before, after = [], []
    for n, m, extent, stride in zip(sizes, out, extents, strides, strict=True):
        total = max(0, (m - 1) * stride + extent - n)
        small, large = total // 2, total - total // 2
        before.append(large if mode == "SAME_LOWER" else small)
        after.append(small if mode == "SAME_LOWER" else large)
    return before, after


def _geometry(step: Step, large: tuple[int, ...], small: tuple[int, ...]) -> Geometry:
    """How windows over spatial sizes `large` make sizes `small`."""
    kernel = step["W"].shape[2:]
    strides = list(step["strides"] or [1] * len(kernel))
    dilations = list(step["dilations"] or [1] * len(kernel))
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if "output_padding" in step.arguments:
        before = _transposed_padding(step, large, small, extents, strides)
        after = [
            max(0, (m - 1) * s + e - n - b)
            for n, m, s, e, b in zip(large, small, strides, extents, before, strict=True)
        ]
    else:
        before, after = paddings(step, large, small, extents, strides)
    return Geometry(step["group"], kernel, *map(tuple, (strides, dilations, before, after)))


def _transposed_padding(
    step: Step,
    large: tuple[int, ...],
    small: tuple[int, ...],
    extents: list[int],
    strides: list[int],
) -> list[int]:
    """What a transposed convolution drops in front; what it drops behind follows from sizes."""
    rank = len(large)
    mode = step["auto_pad"] or "NOTSET"
    if mode == "NOTSET" and not step["output_shape"]:
        return list(step["pads"] or [0] * (2 * rank))[:rank]
    if mode == "VALID":
        return [0] * rank
    extra = step["output_padding"] or [0] * rank
    totals = [
        s * (m - 1) + x + e - n
        for n, m, s, e, x in zip(large, small, strides, extents, extra, strict=True)
    ]
    return [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in totals]


def _convolution(transposed: bool) -> Rule:
    def scale(scales: Scales, step: Step) -> Ids:
        require_static(scales, step, "W", "B")
        x, weight = step["X"], step["W"]
        groups, taps = step["group"], (1,) * (len(weight.shape) - 2)
        ids = scales.uniform(scales[x], [a for a in range(len(x.shape)) if a != 1])
        ids = np.broadcast_to(ids.reshape(-1), x.shape[1])
        emitted = scales.fresh(step, weight, step.outputs[0].shape[1])
        # The weight's first axis runs over all channels of one side, its second over one
        # group's channels of the other side.
        first, second = (ids, emitted) if transposed else (emitted, ids)
        per_group = len(second) // groups
        rows = second.reshape(groups, 1, per_group)
        if groups > 1:
            rows = np.broadcast_to(rows, (groups, len(first) // groups, per_group))
        first = first.reshape(-1, 1, *taps)
        second = rows.reshape(-1, per_group, *taps)
        consumed, emitting = (first, second) if transposed else (second, first)
        scales.weight(step, weight, emitting, consumed)
        scales.bias(step, step["B"], emitted)
        return lead(emitted.reshape(-1, *taps), len(x.shape))

    def lift(lift: Lift, step: Step) -> Scaled:
        value, rank = step["X"], len(step["W"].shape)
        x = lift.full(value, range(1, rank))
        w = lift.full(step["W"], range(rank))
        sizes, out = value.shape[2:], step.outputs[0].shape[2:]
        tape = lift.tape
        if transposed:
            over = _geometry(step, out, sizes)
            y = tape.product(
                lambda x, w: over.to_input(x, w, out),
                x,
                w,
                lambda gradient, w: over.forward(gradient, w, sizes),
                lambda gradient, x: over.to_weight(gradient, x),
            )
        else:
            over = _geometry(step, sizes, out)
            y = tape.product(
                lambda x, w: over.forward(x, w, out),
                x,
                w,
                lambda gradient, w: over.to_input(gradient, w, sizes),
                lambda gradient, x: over.to_weight(x, gradient),
            )
        if step["B"] is None:
            return y
        bias = lift.full(step["B"], [0])
        shape = (-1, *(1,) * (rank - 2))
        laid = bias.map(lambda b: b.reshape(shape), lambda gradient: gradient.reshape(-1))
        return tape.add([y, laid])

    return Rule(scale, lift)


def _table_scale(scales: Scales, step: Step) -> Ids:
    weight = step["data"]
    emitted = scales.fresh(step, weight, weight.shape[1])
    scales.weight(step, weight, emitted.reshape(1, -1), scales.fixed(weight))
    return lead(emitted, len(step.outputs[0].shape))


def _table_lift(lift: Lift, step: Step) -> Scaled:
    """The input is one-hot, lifted to ones: every row reaches every position."""
    weight = lift.full(step["data"], range(2))
    shape, rank = weight.value.shape, len(step.outputs[0].shape)
    return weight.map(
        lambda t: lead(t.sum(0), rank),
        lambda gradient: np.broadcast_to(gradient.reshape(1, -1), shape),
    )


CONVOLUTION = _convolution(transposed=False)
TRANSPOSED_CONVOLUTION = _convolution(transposed=True)
TABLE = Rule(_table_scale, _table_lift)
