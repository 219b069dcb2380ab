"""Rules of sums, products, choices and constant factors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np

from ..engine.facts import Ids
from ..engine.program import Step, Value
from ..engine.rule import NoRule
from ..engine.shapes import common_shape, lead
from .rule import ELEMENTWISE, Rule, first_operand, setting
from .tape import Linear, Scaled, as_stored

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = [
    "CLIP",
    "COMPARISON",
    "CONCATENATION",
    "DROPOUT",
    "EXTREMUM",
    "POWER",
    "PRELU",
    "PRODUCT",
    "QUOTIENT",
    "SIGN",
    "SUM",
    "WHERE",
]

_LARGEST_POWER = 8


def _agreed(scales: Scales, step: Step, values: Sequence[Value]) -> Ids:
    """Ids of values that have to have the same scale; a zero goes with any."""
    rank = len(step.outputs[0].shape)
    ids = scales[values[0]]
    for value in values[1:]:
        ids = scales.equal(ids, scales[value], f"{step.place}: the other operand is pinned")
    return lead(ids, rank)


def _sum_scale(scales: Scales, step: Step) -> Ids:
    left = [v for v in step.inputs() if not scales.is_zero(v)]
    if any(scales.is_constant(v) for v in left):
        raise NoRule("a constant is added")
    return _agreed(scales, step, left) if left else scales.fixed(step.outputs[0])


def _sum_lift(lift: Lift, step: Step) -> Scaled:
    return lift.tape.add([_led(lift[v], step) for v in step.inputs()])


def _led(x: Scaled, step: Step) -> Scaled:
    """With axes of size 1 in front, up to the rank of the output."""
    shape, rank = x.value.shape, len(step.outputs[0].shape)
    if len(shape) == rank:
        return x
    return x.map(lambda t: lead(t, rank), lambda gradient: gradient.reshape(shape))


def _chosen(scales: Scales, step: Step, options: Sequence[Value]) -> Ids:
    left = [v for v in options if not scales.is_zero(v)]
    if any(scales.is_constant(v) for v in left):
        raise NoRule("it compares with or chooses a constant other than 0")
    return _agreed(scales, step, left) if left else scales.fixed(step.outputs[0])


def _where_scale(scales: Scales, step: Step) -> Ids:
    if not scales.is_one(step["condition"]):
        raise NoRule("its condition is scaled")
    return _chosen(scales, step, [step["X"], step["Y"]])


def _where_lift(lift: Lift, step: Step) -> Scaled:
    return lift.tape.add([_led(lift[step[name]], step) for name in ("X", "Y")])


def _comparison_scale(scales: Scales, step: Step) -> Ids:
    _chosen(scales, step, [step["A"], step["B"]])
    return scales.fixed(step.outputs[0])


def _product_scale(scales: Scales, step: Step) -> Ids:
    ids = scales.times(step, scales[step["A"]], scales[step["B"]])
    return lead(ids, len(step.outputs[0].shape))


def _product_lift(lift: Lift, step: Step) -> Scaled:
    return lift.tape.times(_led(lift[step["A"]], step), _led(lift[step["B"]], step))


def _quotient_scale(scales: Scales, step: Step) -> Ids:
    if not scales.is_one(step["B"]):
        raise NoRule("it divides by a scaled tensor or a parameter")
    return lead(scales[step["A"]], len(step.outputs[0].shape))


def _quotient_lift(lift: Lift, step: Step) -> Scaled:
    """A divisor that the input decides is a fresh factor of one."""
    x, divisor = lift[step["A"]], step["B"]
    factor = lift.ones(divisor)
    if lift.is_static(divisor):
        factor = lift.squared(1.0 / lift.real(divisor).astype(np.float64))
    return lift.tape.times(_led(x, step), _led(factor, step))


def _exponent(scales: Scales, step: Step) -> int:
    value = step["Y"]
    real = scales.program.constant(value) if scales.is_constant(value) else None
    n = float(real.reshape(-1)[0]) if real is not None and real.size == 1 else 0.0
    if n != int(n) or not 1 <= n <= _LARGEST_POWER:
        raise NoRule(f"its exponent is not an integer from 1 to {_LARGEST_POWER}")
    return int(n)


def _power_scale(scales: Scales, step: Step) -> Ids:
    ids = scales.power(step, scales[step["X"]], _exponent(scales, step))
    return lead(ids, len(step.outputs[0].shape))


def _power_lift(lift: Lift, step: Step) -> Scaled:
    x, n = lift[step["X"]], int(lift.real(step["Y"]).reshape(-1)[0])
    return reduce(lift.tape.times, [_led(x, step)] * n)


def _prelu_scale(scales: Scales, step: Step) -> Ids:
    if not scales.is_static(step["slope"]):
        raise NoRule("its slope depends on the model's input")
    return scales[step["X"]]


def _any_scale(scales: Scales, step: Step, zeros: Value, others: Sequence[Ids]) -> Ids:
    """Ids of zeros, which go with any scale: fresh ones along the axes that the others store."""
    if not others:
        return scales.fixed(zeros)
    stored = common_shape(others)
    sizes = [n if s > 1 else 1 for n, s in zip(zeros.shape, stored, strict=True)]
    return scales.free(step, int(np.prod(sizes))).reshape(sizes)


def _joined_axis(step: Step) -> int:
    return int(step["axis"]) % len(step.outputs[0].shape)


def _join_shapes(step: Step, held: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """What to expand parts to: in full along the axis, compressed where all parts are."""
    common = [max(sizes) for sizes in zip(*held, strict=True)]
    axis = _joined_axis(step)
    return [[*common[:axis], v.shape[axis], *common[axis + 1 :]] for v in step.inputs()]


def _join_scale(scales: Scales, step: Step) -> Ids:
    values = step.inputs()
    known = {v.index: scales[v] for v in values if not scales.is_zero(v)}
    held = list(known.values())
    ids = [
        known[v.index] if v.index in known else _any_scale(scales, step, v, held) for v in values
    ]
    shapes = _join_shapes(step, [x.shape for x in ids])
    parts = [np.broadcast_to(x, s) for x, s in zip(ids, shapes, strict=True)]
    return np.concatenate(parts, _joined_axis(step))


def _join_lift(lift: Lift, step: Step) -> Scaled:
    axis, values = _joined_axis(step), step.inputs()
    xs = [lift[v] for v in values]
    shapes = _join_shapes(step, [x.value.shape for x in xs])
    whole = [
        x.map(
            lambda t, shape=shape: np.broadcast_to(t, shape),  # type: ignore[misc]
            partial(as_stored, shape=x.value.shape),
        )
        for x, shape in zip(xs, shapes, strict=True)
    ]
    ends = np.cumsum([v.shape[axis] for v in values])

    def part(i: int) -> Linear:
        at = [slice(None)] * axis + [slice(ends[i] - values[i].shape[axis], ends[i])]
        return lambda gradient: gradient[tuple(at)]

    return lift.tape.combine(
        lambda parts: np.concatenate(parts, axis), whole, [part(i) for i in range(len(whole))]
    )


def _clip_scale(scales: Scales, step: Step) -> Ids:
    """Bounds commute with positive scales only if they are 0, or so far that they never act."""
    for name, sign in (("min", -1), ("max", 1)):
        bound = setting(step, name)
        if bound is None or float(np.asarray(bound)) == 0:
            continue
        if sign * float(np.asarray(bound)) < float(np.finfo(np.float32).max):
            raise NoRule("its bounds are not 0")
    return scales[first_operand(step)]


def _dropout_scale(scales: Scales, step: Step) -> Ids:
    training = step.arguments.get("training_mode")
    if isinstance(training, Value) or (training is not None and bool(training)):
        raise NoRule("it drops at random")
    return scales[step["data"]]


CLIP = Rule(_clip_scale, ELEMENTWISE.lift)
DROPOUT = Rule(_dropout_scale, ELEMENTWISE.lift)
PRELU = Rule(_prelu_scale, ELEMENTWISE.lift)
SUM = Rule(_sum_scale, _sum_lift)
EXTREMUM = Rule(lambda scales, step: _chosen(scales, step, step.inputs()), _sum_lift)
WHERE = Rule(_where_scale, _where_lift)
COMPARISON = Rule(_comparison_scale, lambda lift, step: lift.ones(step.outputs[0]))
PRODUCT = Rule(_product_scale, _product_lift)
QUOTIENT = Rule(_quotient_scale, _quotient_lift)
SIGN = Rule(
    lambda scales, step: scales.fixed(step.outputs[0]),
    lambda lift, step: lift.ones(step.outputs[0]),
)
POWER = Rule(_power_scale, _power_lift)
CONCATENATION = Rule(_join_scale, _join_lift)
