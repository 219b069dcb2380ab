"""Rules of operators that choose between entries, or compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from . import compressed
from .program import Step, Value
from .rule import ELEMENTWISE, NoRule, Rule, only_if

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["CLAMP", "COMPARISON", "EXTREMUM", "MASKED_FILL", "SIGN", "THRESHOLD", "WHERE"]


def _bounded_by_zero(step: Step) -> bool:
    """A clamp commutes with positive scales only if its bounds are 0 or absent."""
    bounds = [step.arguments.get(name) for name in ("min", "max")]
    return all(bound is None or (not isinstance(bound, Value) and bound == 0) for bound in bounds)


def _chosen(scales: Scales, step: Step, options: Sequence[Any]) -> Tensor:
    """Ids of a choice between options; a zero goes with any scale."""
    rank = len(step.outputs[0].shape)
    left = [x for x in options if not scales.is_zero(x)]
    for x in left:
        if not isinstance(x, Value) or scales.is_constant(x):
            raise NoRule("it compares with or chooses a constant other than 0")
    if not left:
        return scales.fixed(step.outputs[0])
    ids = scales[left[0]]
    for x in left[1:]:
        ids = scales.equal(ids, scales[x], f"{step.place}: the other operand is pinned")
    return compressed.lead(ids, rank)


def _chosen_lift(lift: Lift, step: Step, options: Sequence[Any]) -> Scaled:
    """Every path through any option exists."""
    values = [x for x in options if isinstance(x, Value)]
    total = lift[values[0]]
    for x in values[1:]:
        total = total + lift[x]
    rank = len(step.outputs[0].shape)
    return total.map(lambda x: compressed.lead(x, rank))


def _where_options(step: Step) -> list[Any]:
    return [step["self"], step["other"]]


def _where_scale(scales: Scales, step: Step) -> Tensor:
    if not scales.is_one(step["condition"]):
        raise NoRule("its condition is scaled")
    return _chosen(scales, step, _where_options(step))


def _where_lift(lift: Lift, step: Step) -> Scaled:
    if not any(isinstance(x, Value) for x in _where_options(step)):
        return lift.ones(step.outputs[0])
    return _chosen_lift(lift, step, _where_options(step))


def _comparison_scale(scales: Scales, step: Step) -> Tensor:
    _chosen(scales, step, [step["self"], step["other"]])
    return scales.fixed(step.outputs[0])


def _masked_fill_scale(scales: Scales, step: Step) -> Tensor:
    if not scales.is_zero(step["value"]):
        raise NoRule("it fills with a number other than 0")
    if not scales.is_one(step["mask"]):
        raise NoRule("its mask is scaled")
    return compressed.lead(scales[step["self"]], len(step.outputs[0].shape))


def _masked_fill_lift(lift: Lift, step: Step) -> Scaled:
    rank = len(step.outputs[0].shape)
    return lift[step["self"]].map(lambda x: compressed.lead(x, rank))


CLAMP = only_if(_bounded_by_zero, "its bounds are not 0", ELEMENTWISE)
THRESHOLD = only_if(
    lambda step: step["threshold"] == 0 and step["value"] == 0,
    "its threshold or value is not 0",
    ELEMENTWISE,
)
EXTREMUM = Rule(
    lambda scales, step: _chosen(scales, step, [step["self"], step["other"]]),
    lambda lift, step: _chosen_lift(lift, step, [step["self"], step["other"]]),
)
WHERE = Rule(_where_scale, _where_lift)
COMPARISON = Rule(_comparison_scale, lambda lift, step: lift.ones(step.outputs[0]))
SIGN = Rule(
    lambda scales, step: scales.fixed(step.outputs[0]),
    lambda lift, step: lift.ones(step.outputs[0]),
)
MASKED_FILL = Rule(_masked_fill_scale, _masked_fill_lift)
