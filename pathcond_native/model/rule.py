"""What a rule is: how one operator moves channel scales, and its lifted form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from . import compressed
from .program import Step

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["ELEMENTWISE", "Move", "NoRule", "Rule", "moves", "only_if", "picks", "require_static"]

Move = Callable[[Step, Tensor], "Tensor | Sequence[Tensor]"]


class NoRule(Exception):  # noqa: N818  (a signal inside the package, not an error)
    """The operator has a rule, but not for these operands; the text says why."""


@dataclass(frozen=True)
class Rule:
    """`scale` maps ids to ids, `lift` maps lifted values to a lifted value; both for one step.

    Either returns one result per output, or a single one for the first output; the others
    (indices, masks, saved statistics) are then fresh ones of scale 1. `move` is set if every entry
    of the outputs is an entry of argument `moved`: a moved parameter is still that parameter.
    """

    scale: Callable[[Scales, Step], Tensor | Sequence[Tensor]]
    lift: Callable[[Lift, Step], Scaled | Sequence[Scaled]]
    move: Move | None = None
    moved: str = ""


def moves(f: Move, argument: str = "self") -> Rule:
    """Entries change places and nothing else happens: ids and lifted values move alike."""

    def lift(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
        x = lift[step[argument]]
        with lift.tape.lent.present([x.value]):
            several = f(step, x.value)
        if isinstance(several, Tensor):
            return x.map(lambda t: _single(f(step, t)))
        return [x.map(partial(_one, f, step, i)) for i in range(len(several))]

    return Rule(lambda scales, step: f(step, scales[step[argument]]), lift, f, argument)


def _one(f: Move, step: Step, i: int, x: Tensor) -> Tensor:
    return f(step, x)[i]


def _single(x: Tensor | Sequence[Tensor]) -> Tensor:
    assert isinstance(x, Tensor)
    return x


def picks(axes: Callable[[Step], Sequence[int]], argument: str = "self") -> Rule:
    """The operator itself moves entries along some axes; the others may stay compressed."""

    def move(step: Step, x: Tensor) -> Tensor | Sequence[Tensor]:
        value = step[argument]
        rank = len(value.shape)
        touched = [axis % rank for axis in axes(step)]
        same_rank = all(len(v.shape) == rank for v in step.outputs)
        if same_rank and all(x.shape[axis] == 1 for axis in touched):
            return x if len(step.outputs) == 1 else [x] * len(step.outputs)
        full = compressed.expand(x, value.shape, touched)
        # Some operators know no integers; ids are far below 2^53.
        moved = step.call({value.index: full if x.is_floating_point() else full.double()})
        if isinstance(moved, Tensor):
            return moved.to(x.dtype)
        return [y.to(x.dtype) for y in moved]

    return moves(move, argument)


def only_if(condition: Callable[[Step], bool], reason: str, rule: Rule) -> Rule:
    """The rule, for steps that meet a condition on their arguments."""

    def scale(scales: Scales, step: Step) -> Tensor | Sequence[Tensor]:
        if not condition(step):
            raise NoRule(reason)
        return rule.scale(scales, step)

    def move(step: Step, x: Tensor) -> Tensor | Sequence[Tensor]:
        if not condition(step):
            raise NoRule(reason)
        assert rule.move is not None
        return rule.move(step, x)

    return Rule(scale, rule.lift, move if rule.move is not None else None, rule.moved)


def require_static(scales: Scales, step: Step, *names: str) -> None:
    """Raise `NoRule` if one of these arguments is a function of the model's input."""
    for name in names:
        if step[name] is not None and not scales.is_static(step[name]):
            raise NoRule(f"its {name} depends on the model's input")


# Entry by entry and positively homogeneous: a path keeps its weight. Unlike a move, it makes
# something else of a parameter.
ELEMENTWISE = Rule(
    lambda scales, step: scales[step.inputs()[0]],
    lambda lift, step: lift.stored(step.inputs()[0]),
)
