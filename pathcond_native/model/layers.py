"""Rules of layers that map channels linearly by a weight."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import compressed
from .pooling import per_axis
from .program import Step
from .repeats import Repeat, through_windows, written
from .rule import NoRule, Rule, require_static

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["BILINEAR", "CONVOLUTION", "EMBEDDING", "LINEAR", "TRANSPOSED_CONVOLUTION"]


def _lifted_map(lift: Lift, step: Step, x: Scaled) -> Scaled:
    """The step's own operator on lifted input and squared weights, then the squared bias."""
    bias = step["bias"]

    def linear(x: Tensor, weight: Tensor) -> Tensor:
        replace = {step["input"].index: x, step["weight"].index: weight}
        without_bias = Step(step.op, "", "", {**step.arguments, "bias": None}, ())
        out = without_bias.call(replace)
        assert isinstance(out, Tensor)
        return out

    out = lift.tape.product(linear, x, lift.full(step["weight"], range(len(step["weight"].shape))))
    if bias is None:
        return out
    after = 0 if step.name == "aten.linear" else _spatial_rank(step)
    return out + lift[bias].map(lambda b: b.reshape((-1,) + (1,) * after))


def _linear_scale(scales: Scales, step: Step) -> Tensor:
    require_static(scales, step, "weight", "bias")
    x, weight = step["input"], step["weight"]
    if len(weight.shape) != 2:
        raise NoRule("its weight is not a matrix")
    rank = len(x.shape)
    consumed = scales.uniform(scales[x], range(rank - 1)).reshape(1, -1)
    emitted = scales.fresh(step, weight, weight.shape[0])
    scales.weight(step, weight, emitted.reshape(-1, 1), consumed)
    scales.bias(step, step["bias"], emitted)
    return compressed.lead(emitted, rank)


def _linear_lift(lift: Lift, step: Step) -> Scaled:
    x = step["input"]
    return _lifted_map(lift, step, lift.full(x, [len(x.shape) - 1]))


def _spatial_rank(step: Step) -> int:
    return len(step["weight"].shape) - 2


def _convolution(transposed: bool) -> Rule:
    def scale(scales: Scales, step: Step) -> Tensor:
        require_static(scales, step, "weight", "bias")
        x, weight = step["input"], step["weight"]
        groups, spatial = step["groups"], _spatial_rank(step)
        channel = len(x.shape) - spatial - 1
        n_in = x.shape[channel]
        n_out = step.outputs[0].shape[channel]
        ids = scales.uniform(scales[x], [a for a in range(len(x.shape)) if a != channel])
        ids = ids.reshape(-1).expand(n_in)
        emitted = scales.fresh(step, weight, n_out)
        # The weight's first axis runs over all channels of one side, its second over one
        # group's channels of the other side.
        first, second = (ids, emitted) if transposed else (emitted, ids)
        per_group = len(second) // groups
        rows = second.reshape(groups, 1, per_group)
        rows = rows.expand(groups, len(first) // groups if groups > 1 else 1, per_group)
        taps = (1,) * spatial
        first = first.reshape(-1, 1, *taps)
        second = rows.reshape(-1, per_group, *taps)
        consumed, emitting = (first, second) if transposed else (second, first)
        scales.weight(step, weight, emitting, consumed)
        scales.bias(step, step["bias"], emitted)
        return compressed.lead(emitted.reshape(-1, *taps), len(x.shape))

    def lift(lift: Lift, step: Step) -> Scaled:
        x = step["input"]
        batched = len(x.shape) - _spatial_rank(step) - 1
        if not transposed:
            return _interior_once(lift, step, batched)
        return _lifted_map(lift, step, lift.full(x, range(batched, len(x.shape))))

    return Rule(scale, lift)


def _padding_before(step: Step, dilations: list[int]) -> list[int]:
    """Zeros before every spatial axis."""
    padding = step["padding"]
    if not isinstance(padding, str):
        return per_axis(padding, len(dilations))
    kernel = step["weight"].shape[2:]
    same = padding == "same"
    return [d * (k - 1) // 2 if same else 0 for d, k in zip(dilations, kernel, strict=True)]


def _interior_once(lift: Lift, step: Step, batched: int) -> Scaled:
    """A convolution of values that agree away from the borders gives such values."""
    value, rank = step["input"], _spatial_rank(step)
    axes = range(batched + 1, len(value.shape))
    x = lift.stored(value, axes)
    strides, dilations = (per_axis(step[name], rank) for name in ("stride", "dilation"))
    paddings = _padding_before(step, dilations)
    held, repeats = x.repeats, dict[int, Repeat]()
    for axis, stride, padding, dilation in zip(axes, strides, paddings, dilations, strict=True):
        repeat = held.get(axis)
        if repeat is None and x.value.shape[axis] == 1 < value.shape[axis]:
            repeat = Repeat(0, value.shape[axis])
        if repeat is None:
            continue
        size, kernel = step.outputs[0].shape[axis], step["weight"].shape[axis - batched + 1]
        copies, out = through_windows(repeat, size, kernel, stride, padding, dilation)
        if copies > 1:
            x = x.map(partial(written, axis=axis, at=repeat.at, copies=copies))
        if out is not None:
            repeats[axis] = out
    channels = value.shape[batched]
    if x.value.shape[batched] != channels:
        x = x.map(lambda t: t.expand(*t.shape[:batched], channels, *t.shape[batched + 1 :]))
    return _lifted_map(lift, step, x).with_repeats(repeats)


def _embedding_scale(scales: Scales, step: Step) -> Tensor:
    require_static(scales, step, "weight")
    weight = step["weight"]
    emitted = scales.fresh(step, weight, weight.shape[1])
    scales.weight(step, weight, emitted.reshape(1, -1), scales.fixed(weight))
    return compressed.lead(emitted, len(step.outputs[0].shape))


def _embedding_lift(lift: Lift, step: Step) -> Scaled:
    """The input is one-hot, lifted to ones: every row reaches every position."""
    rank = len(step.outputs[0].shape)
    rows = step["weight"].shape[0]

    def total(weight: Tensor) -> Tensor:
        return compressed.lead(weight.expand(rows, -1).sum(0), rank)

    return lift[step["weight"]].map(total)


def _bilinear_scale(scales: Scales, step: Step) -> Tensor:
    """out[o] = Σ x[i] W[o, i, j] y[j]: the weight consumes the product of both inputs."""
    require_static(scales, step, "weight", "bias")
    a, b, weight = step["input1"], step["input2"], step["weight"]
    rank = len(a.shape)
    first, second = (scales.uniform(scales[v], range(rank - 1)).reshape(-1) for v in (a, b))
    consumed = scales.times(step, first.reshape(1, -1, 1), second.reshape(1, 1, -1))
    emitted = scales.fresh(step, weight, weight.shape[0])
    scales.weight(step, weight, emitted.reshape(-1, 1, 1), consumed)
    scales.bias(step, step["bias"], emitted)
    return compressed.lead(emitted, rank)


def _bilinear_lift(lift: Lift, step: Step) -> Scaled:
    axis = [len(step["input1"].shape) - 1]
    x, y = lift.full(step["input1"], axis), lift.full(step["input2"], axis)
    weight = lift.full(step["weight"], range(3))

    def bilinear(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("...i,oij,...j->...o", x, weight, y)

    out = lift.tape.product(bilinear, x, y, weight)
    return out if step["bias"] is None else out + lift[step["bias"]]


LINEAR = Rule(_linear_scale, _linear_lift)
CONVOLUTION = _convolution(transposed=False)
TRANSPOSED_CONVOLUTION = _convolution(transposed=True)
EMBEDDING = Rule(_embedding_scale, _embedding_lift)
BILINEAR = Rule(_bilinear_scale, _bilinear_lift)
