"""Rules of sums, concatenation and constant factors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import compressed
from .program import Step, Value
from .rule import NoRule, Rule

if TYPE_CHECKING:
    from .diag_g import Lift
    from .groups import Scales
    from .scaled import Scaled

__all__ = ["CONCATENATION", "PRODUCT", "QUOTIENT", "SUM"]


def _number(x: Any) -> bool:
    return isinstance(x, (int, float))


def _is_zero(x: Any) -> bool:
    return _number(x) and x == 0


def _sum_scale(scales: Scales, step: Step) -> Tensor:
    a, b = step["self"], step["other"]
    if _is_zero(b):
        return scales[a]
    if _number(b) or scales.is_static(a) or scales.is_static(b):
        raise NoRule("a constant is added")
    return scales.equal(scales[a], scales[b], f"{step.place}: the other operand is pinned")


def _sum_lift(lift: Lift, step: Step) -> Scaled:
    a, b = step["self"], step["other"]
    if _is_zero(b):
        return lift[a]
    factor = float(step.arguments.get("alpha", 1)) ** 2
    return lift[a] + (lift[b] if factor == 1 else lift[b].map(lambda x: x * factor))


def _cat_scale(scales: Scales, step: Step) -> Tensor:
    parts = step["tensors"]
    shapes = [part.shape for part in parts]
    axis = step["dim"] % len(shapes[0])
    return compressed.concatenate([scales[part] for part in parts], shapes, axis)


def _cat_lift(lift: Lift, step: Step) -> Scaled:
    parts = step["tensors"]
    shapes = [part.shape for part in parts]
    axis = step["dim"] % len(shapes[0])
    return lift.tape.combine(
        lambda xs: compressed.concatenate(xs, shapes, axis), [lift[part] for part in parts]
    )


def _factor(divides: bool) -> Rule:
    """A product with, or division by, something that is no function of the model's input."""

    def operands(step: Step, is_static: Callable[[Value], bool]) -> tuple[Value, Any]:
        a, b = step["self"], step["other"]
        if _number(b) or is_static(b):
            return a, b
        if is_static(a) and not divides:
            return b, a
        raise NoRule("both operands depend on the model's input")

    def scale(scales: Scales, step: Step) -> Tensor:
        if step.arguments.get("rounding_mode") is not None:
            raise NoRule("it rounds")
        x, factor = operands(step, scales.is_static)
        if isinstance(factor, Value) and scales.is_parameter(factor):
            raise NoRule("it multiplies by a parameter")
        return compressed.lead(scales[x], len(step.outputs[0].shape))

    def lift(lift: Lift, step: Step) -> Scaled:
        x, factor = operands(step, lift.is_static)
        real = lift.real(factor) if isinstance(factor, Value) else lift.tensor(factor)
        squared = lift.tape.constant(real if not divides else 1.0 / real)
        squared = lift.tape.constant(squared.value**2, 2 * squared.exponent)
        return lift.tape.product(torch.mul, lift[x], squared)

    return Rule(scale, lift)


SUM = Rule(_sum_scale, _sum_lift)
CONCATENATION = Rule(_cat_scale, _cat_lift)
PRODUCT = _factor(divides=False)
QUOTIENT = _factor(divides=True)
