"""Rules of normalisations: the input is pinned, the affine parameters start fresh channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .program import Step, Value
from .rule import Rule, require_static

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["BATCH_NORM", "CHANNEL_NORM", "EITHER_BATCH_NORM", "INSTANCE_NORM", "LAYER_NORM"]

Shape = Callable[[Step, "Value | Tensor"], "list[int]"]


def _argument(step: Step, name: str) -> Value | None:
    value = step.arguments.get(name)
    return value if isinstance(value, Value) else None


def _along_channels(step: Step, parameter: Value | Tensor) -> list[int]:
    return [1, parameter.shape[0]] + [1] * (len(step["input"].shape) - 2)


def _trailing(step: Step, parameter: Value | Tensor) -> list[int]:
    return [1] * (len(step["input"].shape) - len(parameter.shape)) + list(parameter.shape)


def _scale(shape: Shape, reason: str) -> Callable[[Scales, Step], Tensor]:
    def scale(scales: Scales, step: Step) -> Tensor:
        require_static(scales, step, *(n for n in ("weight", "bias") if n in step.arguments))
        weight, bias = _argument(step, "weight"), _argument(step, "bias")
        scales.pin_value(step["input"], f"{step.place} {reason}")
        if weight is None:
            if bias is not None:
                scales.bias(step, bias, scales.fixed(bias))
            return scales.fixed(step["input"])
        emitted = scales.fresh(step, weight, torch.Size(weight.shape).numel())
        emitted = emitted.reshape(weight.shape)
        scales.weight(step, weight, emitted, scales.fixed(weight))
        scales.bias(step, bias, emitted)
        return emitted.reshape(shape(step, weight))

    return scale


def _squared(lift: Lift, step: Step, name: str) -> Scaled | None:
    """γ² or β²; None if there is none."""
    parameter = _argument(step, name)
    return None if parameter is None else lift.full(parameter, range(len(parameter.shape)))


def _affine(lift: Lift, step: Step, shape: Shape) -> Scaled:
    """1 · γ² + β²."""
    weight, bias = (_squared(lift, step, name) for name in ("weight", "bias"))
    out = lift.ones(step["input"])
    if weight is not None:
        out = lift.tape.product(lambda x, w: x * w.reshape(shape(step, w)), out, weight)
    if bias is not None:
        out = lift.tape.combine(lambda xs: xs[0] + xs[1].reshape(shape(step, xs[1])), [out, bias])
    return out


def _normalisation(shape: Shape) -> Rule:
    """Statistics of the input itself: paths end, γ² · 1 + β² starts new ones."""

    def lift(lift: Lift, step: Step) -> Scaled:
        return _affine(lift, step, shape)

    return Rule(_scale(shape, "divides out the scale of its input"), lift)


def _batch_norm_lift(lift: Lift, step: Step) -> Scaled:
    """γ(x - μ)/s + β lifts to (x + μ²)·γ²/s² + β²: the constant -μ is one more source of paths."""
    mean, variance = step["running_mean"], step["running_var"]

    def laid(x: Tensor) -> Tensor:
        return x.reshape(_along_channels(step, mean))

    weight, bias = (_squared(lift, step, name) for name in ("weight", "bias"))
    factors = [lift.tape.constant(1.0 / (lift.real(variance) + step["eps"]))]
    factors += [] if weight is None else [weight]
    x = lift.stored(step["input"], range(2, len(step["input"].shape)))
    out = lift.tape.product(lambda x, *factors: x * laid(math.prod(factors)), x, *factors)
    # Per channel before the whole: its entries are passed over twice.
    offset = lift.tape.product(lambda *xs: math.prod(xs), lift[mean], *factors)
    terms = [out, offset] + ([] if bias is None else [bias])
    out = lift.tape.combine(lambda xs: xs[0] + laid(sum(xs[2:], xs[1])), terms)
    return out.with_repeats(x.repeats)


def _by_statistics(own: Callable[[Step], bool]) -> Rule:
    """Statistics of the input where `own` says so, trained ones elsewhere."""

    def scale(scales: Scales, step: Step) -> Tensor:
        rule = CHANNEL_NORM if own(step) else BATCH_NORM
        result = rule.scale(scales, step)
        assert isinstance(result, Tensor)
        return result

    def lift(lift: Lift, step: Step) -> Scaled:
        if own(step):
            return _affine(lift, step, _along_channels)
        return _batch_norm_lift(lift, step)

    return Rule(scale, lift)


BATCH_NORM = Rule(
    _scale(_along_channels, "divides out the scale of its input in training mode"),
    _batch_norm_lift,
)
LAYER_NORM = _normalisation(_trailing)
CHANNEL_NORM = _normalisation(_along_channels)
INSTANCE_NORM = _by_statistics(lambda step: bool(step["use_input_stats"]))
EITHER_BATCH_NORM = _by_statistics(lambda step: bool(step["training"]))
