"""Rules of layers with parameters: linear maps and batch normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import compressed
from .program import Step
from .rule import NoRule, Rule, require_static

if TYPE_CHECKING:
    from .diag_g import Lift
    from .groups import Scales
    from .scaled import Scaled

__all__ = ["BATCH_NORM", "CONVOLUTION", "LINEAR", "TRANSPOSED_CONVOLUTION"]


def _lifted_map(lift: Lift, step: Step, x: Scaled) -> Scaled:
    """The step's own operator on lifted input and squared weights, then the squared bias."""
    bias = step["bias"]

    def linear(x: Tensor, weight: Tensor) -> Tensor:
        replace = {step["input"].index: x, step["weight"].index: weight}
        without_bias = Step(step.op, "", "", {**step.arguments, "bias": None}, ())
        out = without_bias.call(replace)
        assert isinstance(out, Tensor)
        return out

    out = lift.tape.product(linear, x, lift[step["weight"]])
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
        return _lifted_map(lift, step, lift.full(x, range(batched, len(x.shape))))

    return Rule(scale, lift)


def _batch_norm_scale(scales: Scales, step: Step) -> Tensor:
    require_static(scales, step, "weight", "bias", "running_mean", "running_var")
    x, weight = step["input"], step["weight"]
    scales.pin(scales[x], f"{step.place} divides out the scale of its input in training mode")
    if weight is None or not scales.is_parameter(weight):
        return scales.fixed(x)
    emitted = scales.fresh(step, weight, weight.shape[0])
    scales.weight(step, weight, emitted, scales.fixed(weight))
    scales.bias(step, step["bias"], emitted)
    return emitted.reshape(1, -1, *(1,) * (len(x.shape) - 2))


def _batch_norm_lift(lift: Lift, step: Step) -> Scaled:
    """γ(x - μ)/s + β lifts to (x + μ²)·γ²/s² + β²: the constant -μ is one more source of paths."""
    shape = (1, -1) + (1,) * (len(step["input"].shape) - 2)

    def per_channel(v: Scaled) -> Scaled:
        return v.map(lambda x: x.reshape(shape))

    out = lift[step["input"]] + per_channel(lift[step["running_mean"]])
    variance = lift.real(step["running_var"])
    inverse = lift.tape.constant(1.0 / (variance + step["eps"]))
    out = lift.tape.product(torch.mul, out, per_channel(inverse))
    if step["weight"] is not None:
        out = lift.tape.product(torch.mul, out, per_channel(lift[step["weight"]]))
    return out if step["bias"] is None else out + per_channel(lift[step["bias"]])


LINEAR = Rule(_linear_scale, _linear_lift)
CONVOLUTION = _convolution(transposed=False)
TRANSPOSED_CONVOLUTION = _convolution(transposed=True)
BATCH_NORM = Rule(_batch_norm_scale, _batch_norm_lift)
