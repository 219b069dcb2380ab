"""Rules of sums, products and constant factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import compressed
from .program import Step, Value
from .repeats import Repeat, aligned
from .rule import NoRule, Rule

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = [
    "ADDED_PRODUCT",
    "CONCATENATION",
    "GATED_LINEAR",
    "OVERWRITING",
    "POWER",
    "PRODUCT",
    "QUOTIENT",
    "SQUARE",
    "STACK",
    "SUM",
    "WEIGHT_NORM",
]

_LARGEST_POWER = 8


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float))


def _is_zero(x: Any) -> bool:
    return _is_number(x) and x == 0


def _sum_scale(scales: Scales, step: Step) -> Tensor:
    a, b = step["self"], step["other"]
    if _is_zero(b):
        return scales[a]
    if _is_number(b) or scales.is_constant(a) or scales.is_constant(b):
        raise NoRule("a constant is added")
    return scales.equal(scales[a], scales[b], f"{step.place}: the other operand is pinned")


def _aligned(a: Scaled, b: Scaled) -> tuple[list[Scaled], dict[int, Repeat]]:
    """Two operands of an operator that acts entry by entry and broadcasts."""
    rank = max(a.value.dim(), b.value.dim())
    return aligned([_led(x, rank) for x in (a, b)])


def _led(x: Scaled, rank: int) -> Scaled:
    """With axes of size 1 in front, up to a rank."""
    missing = rank - x.value.dim()
    if not missing:
        return x
    repeats = {axis + missing: repeat for axis, repeat in x.repeats.items()}
    return x.map(lambda t: compressed.lead(t, rank)).with_repeats(repeats)


def _sum_lift(lift: Lift, step: Step) -> Scaled:
    a, b = step["self"], step["other"]
    if _is_zero(b):
        return lift[a]
    scaled, other = (a, b) if step.name == "aten.rsub" else (b, a)
    factor = float(step.arguments.get("alpha", 1)) ** 2
    (x, y), repeats = _aligned(lift.stored(other), lift.stored(scaled))
    return (x + (y if factor == 1 else y.map(lambda t: t * factor))).with_repeats(repeats)


def _any_scale(scales: Scales, step: Step, zeros: Value, others: Sequence[Tensor]) -> Tensor:
    """Ids of zeros, which go with any scale: fresh ones along the axes that the others store."""
    shape = list(zeros.shape)
    if not others:
        return scales.fixed(zeros)
    stored = [max(sizes) for sizes in zip(*(x.shape for x in others), strict=True)]
    sizes = [n if s > 1 else 1 for n, s in zip(shape, stored, strict=True)]
    return scales.free(step, torch.Size(sizes).numel()).reshape(sizes)


def _joined(new_axis: bool) -> Rule:
    """Concatenation along an axis, or along a new one."""

    def parts(step: Step) -> tuple[list[Value], list[list[int]], int]:
        values = step["tensors"]
        axis = step["dim"] % len(step.outputs[0].shape)
        shapes = [list(v.shape) for v in values]
        return values, [[*s[:axis], 1, *s[axis:]] for s in shapes] if new_axis else shapes, axis

    def join(xs: Sequence[Tensor], shapes: list[list[int]], axis: int) -> Tensor:
        xs = [x.unsqueeze(axis) for x in xs] if new_axis else xs
        return compressed.concatenate(xs, shapes, axis)

    def scale(scales: Scales, step: Step) -> Tensor:
        values, shapes, axis = parts(step)
        known = {v.index: scales[v] for v in values if not scales.is_zero(v)}
        held = list(known.values())
        ids = [
            known[v.index] if v.index in known else _any_scale(scales, step, v, held)
            for v in values
        ]
        return join(ids, shapes, axis)

    def lift(lift: Lift, step: Step) -> Scaled:
        values, shapes, axis = parts(step)
        repeats: dict[int, Repeat] = {}
        xs = [lift[v] for v in values]
        if not new_axis:
            xs, repeats = aligned([lift.stored(v) for v in values], plain=axis)
        return lift.tape.combine(lambda ts: join(ts, shapes, axis), xs).with_repeats(repeats)

    return Rule(scale, lift)


def _overwritten(step: Step, x: Tensor, part: Tensor) -> Tensor:
    """x with the slice that the step names replaced by `part`; other axes stay compressed."""
    axis, place = step["dim"] % x.dim(), [step[name] for name in ("start", "end", "step")]
    sizes = [max(a, b) for a, b in zip(x.shape, part.shape, strict=True)]
    sizes[axis] = step["self"].shape[axis]
    smaller = [*sizes[:axis], step["src"].shape[axis], *sizes[axis + 1 :]]
    return x.expand(sizes).slice_scatter(part.expand(smaller), axis, *place)


def _overwriting_scale(scales: Scales, step: Step) -> Tensor:
    """Zeros that overwrite go with any scale; entries of a parameter that go unused keep theirs."""
    x, part = step["self"], step["src"]
    ids = scales[x]
    if scales.is_static(x):
        axis, place = step["dim"] % ids.dim(), slice(step["start"], step["end"], step["step"])
        gone = compressed.expand(ids, x.shape, [axis]).movedim(axis, 0)[place]
        scales.pin(gone, f"is overwritten by {step.place}")
    zeros = scales.is_zero(part)
    return _overwritten(step, ids, _any_scale(scales, step, part, [ids]) if zeros else scales[part])


def _overwriting_lift(lift: Lift, step: Step) -> Scaled:
    parts = [lift[step["self"]], lift[step["src"]]]
    return lift.tape.combine(lambda xs: _overwritten(step, *xs), parts)


def _operand(lift: Lift, x: Any) -> Scaled:
    return lift.stored(x) if isinstance(x, Value) else lift.squared(lift.tensor(x))


def _product(lift: Lift, a: Scaled, b: Scaled) -> Scaled:
    xs, repeats = _aligned(a, b)
    return lift.tape.product(torch.mul, *xs).with_repeats(repeats)


def _product_scale(scales: Scales, step: Step) -> Tensor:
    rank = len(step.outputs[0].shape)
    ids = [scales[x] for x in (step["self"], step["other"]) if isinstance(x, Value)]
    product = scales.times(step, *ids) if len(ids) == 2 else ids[0]
    return compressed.lead(product, rank)


def _product_lift(lift: Lift, step: Step) -> Scaled:
    return _product(lift, _operand(lift, step["self"]), _operand(lift, step["other"]))


def _added_product_scale(scales: Scales, step: Step) -> Tensor:
    """self + value · tensor1 · tensor2."""
    if scales.is_constant(step["self"]):
        raise NoRule("a constant is added")
    ids = [scales[x] for x in (step["tensor1"], step["tensor2"])]
    product = compressed.lead(scales.times(step, *ids), len(step.outputs[0].shape))
    return scales.equal(product, scales[step["self"]], f"{step.place}: the other operand is pinned")


def _added_product_lift(lift: Lift, step: Step) -> Scaled:
    factor = float(step["value"]) ** 2
    product = lift.tape.product(torch.mul, lift[step["tensor1"]], lift[step["tensor2"]])
    return product.map(lambda x: x * factor) + lift[step["self"]]


def _quotient_scale(scales: Scales, step: Step) -> Tensor:
    x, divisor = step["self"], step["other"]
    if step.arguments.get("rounding_mode") is not None:
        raise NoRule("it rounds")
    if isinstance(divisor, Value) and not scales.is_one(divisor):
        raise NoRule("it divides by a scaled tensor or a parameter")
    return compressed.lead(scales[x], len(step.outputs[0].shape))


def _quotient_lift(lift: Lift, step: Step) -> Scaled:
    """A divisor that the input decides is a fresh factor of one."""
    divisor = step["other"]
    if not isinstance(divisor, Value):
        factor = lift.squared(1.0 / lift.tensor(divisor))
    elif lift.is_static(divisor):
        factor = lift.squared(1.0 / lift.real(divisor))
    else:
        factor = lift.ones(divisor)
    return _product(lift, lift.stored(step["self"]), factor)


def _power(exponent: Callable[[Step], Any]) -> Rule:
    def scale(scales: Scales, step: Step) -> Tensor:
        n = exponent(step)
        if not _is_number(n) or n != int(n) or not 1 <= n <= _LARGEST_POWER:
            raise NoRule(f"its exponent is not an integer from 1 to {_LARGEST_POWER}")
        return scales.power(step, scales[step["self"]], int(n))

    def lift(lift: Lift, step: Step) -> Scaled:
        x = result = lift[step["self"]]
        for _ in range(int(exponent(step)) - 1):
            result = lift.tape.product(torch.mul, result, x)
        return result

    return Rule(scale, lift)


def _halves(step: Step, x: Tensor) -> tuple[Tensor, Tensor]:
    axis = step["dim"] % x.dim()
    if x.shape[axis] == 1:
        return x, x
    first, second = x.chunk(2, axis)
    return first, second


def _gated_scale(scales: Scales, step: Step) -> Tensor:
    value, gate = _halves(step, scales[step["self"]])
    scales.pin(gate, f"feeds the gate of {step.place}")
    return value


def _weight_norm_scale(scales: Scales, step: Step) -> Tensor:
    return scales[step["g"]]


def _weight_norm_lift(lift: Lift, step: Step) -> Scaled:
    """g·v/|v|: the direction is a constant factor."""
    ones = torch.ones_like(lift.real(step["g"]))
    replace = {step["g"].index: ones, step["v"].index: lift.real(step["v"])}
    direction = step.call(replace)
    direction = direction if isinstance(direction, Tensor) else direction[0]
    return lift.tape.product(torch.mul, lift[step["g"]], lift.squared(direction))


SUM = Rule(_sum_scale, _sum_lift)
CONCATENATION = _joined(new_axis=False)
STACK = _joined(new_axis=True)
OVERWRITING = Rule(_overwriting_scale, _overwriting_lift)
ADDED_PRODUCT = Rule(_added_product_scale, _added_product_lift)
PRODUCT = Rule(_product_scale, _product_lift)
QUOTIENT = Rule(_quotient_scale, _quotient_lift)
POWER = _power(lambda step: step["exponent"])
SQUARE = _power(lambda step: 2)
GATED_LINEAR = Rule(
    _gated_scale, lambda lift, step: lift[step["self"]].map(lambda x: _halves(step, x)[0])
)
WEIGHT_NORM = Rule(_weight_norm_scale, _weight_norm_lift)
