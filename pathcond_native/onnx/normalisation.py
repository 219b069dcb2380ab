"""Rules of normalisations: the input is pinned, the affine parameters start fresh channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..engine.facts import Ids
from ..engine.program import Step, Value
from ..engine.rule import only_if, require_static
from .rule import AnyArray, Rule, argument, first_operand
from .tape import Scaled

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = ["BATCH_NORM", "CHANNEL_NORM", "GROUP_NORM", "LAYER_NORM"]

Shape = Callable[[Step, Value], "list[int]"]


def _along_channels(step: Step, parameter: Value) -> list[int]:
    return [1, parameter.shape[0]] + [1] * (len(first_operand(step).shape) - 2)


def _trailing(step: Step, parameter: Value) -> list[int]:
    return [1] * (len(first_operand(step).shape) - len(parameter.shape)) + list(parameter.shape)


def _affine_of(step: Step) -> tuple[Value | None, Value | None]:
    return argument(step, "scale", "Scale"), argument(step, "B", "bias")


def _affine_by_channel(step: Step) -> bool:
    return bool(step["scale"].shape[0] == step["X"].shape[1])


def _scale(shape: Shape, reason: str) -> Callable[[Scales, Step], Ids]:
    def scale(scales: Scales, step: Step) -> Ids:
        names = [n for n in ("scale", "Scale", "B", "bias") if n in step.arguments]
        require_static(scales, step, *names)
        weight, bias = _affine_of(step)
        scales.pin_value(first_operand(step), f"{step.place} {reason}")
        if weight is None:
            return scales.fixed(first_operand(step))
        emitted = scales.fresh(step, weight, int(np.prod(weight.shape))).reshape(weight.shape)
        scales.weight(step, weight, emitted, scales.fixed(weight))
        scales.bias(step, bias, emitted)
        return emitted.reshape(shape(step, weight))

    return scale


def _affine(lift: Lift, step: Step, out: Scaled, shape: Shape) -> Scaled:
    """out · γ² + β²."""

    def laid(parameter: Value) -> Scaled:
        full = lift.full(parameter, range(len(parameter.shape)))
        held = full.value.shape
        return full.map(lambda x: x.reshape(shape(step, parameter)), lambda g: g.reshape(held))

    weight, bias = _affine_of(step)
    if weight is not None:
        out = lift.tape.times(out, laid(weight))
    return out if bias is None else lift.tape.add([out, laid(bias)])


def _normalisation(shape: Shape) -> Rule:
    """Statistics of the input itself: paths end, γ² · 1 + β² starts new ones."""

    def lift(lift: Lift, step: Step) -> Scaled:
        return _affine(lift, step, lift.ones(first_operand(step)), shape)

    return Rule(_scale(shape, "divides out the scale of its input"), lift)


def _batch_norm_lift(lift: Lift, step: Step) -> Scaled:
    """x·γ²/s² + μ²·γ²/s² + β²: the mean is a constant source of paths."""
    if step.arguments.get("training_mode"):
        return _affine(lift, step, lift.ones(step["X"]), _along_channels)
    if lift.counts:  # one connection per channel, and a bias
        return _affine(lift, step, lift[step["X"]], _along_channels)
    mean, variance = argument(step, "input_mean", "mean"), argument(step, "input_var", "var")

    def laid(value: Value) -> AnyArray:
        return lift.real(value).astype(np.float64).reshape(_along_channels(step, value))

    x = lift.tape.add([lift[step["X"]], lift.squared(laid(mean))])
    inverse = lift.tape.constant(1.0 / (laid(variance) + step["epsilon"]))
    return _affine(lift, step, lift.tape.times(x, inverse), _along_channels)


BATCH_NORM = Rule(
    _scale(_along_channels, "divides out the scale of its input in training mode"),
    _batch_norm_lift,
)
CHANNEL_NORM = _normalisation(_along_channels)
GROUP_NORM = only_if(_affine_by_channel, "its affine parameters are per group", CHANNEL_NORM)
LAYER_NORM = _normalisation(_trailing)
