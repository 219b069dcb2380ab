"""Rules of operators of torch that move entries, or keep them where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from ..engine import rule
from ..engine.rule import NoRule, only_if, require_static
from . import compressed
from .program import Step

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled

__all__ = ["ELEMENTWISE", "Move", "NoRule", "Rule", "moves", "only_if", "picks", "require_static"]

if TYPE_CHECKING:
    Rule: TypeAlias = rule.Rule[Tensor, Scaled]
else:
    Rule = rule.Rule
Move = Callable[[Step, Tensor], "Tensor | Sequence[Tensor]"]


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


# Entry by entry and positively homogeneous: a path keeps its weight. Unlike a move, it makes
# something else of a parameter.
ELEMENTWISE = Rule(
    lambda scales, step: scales[step.inputs()[0]],
    lambda lift, step: lift.stored(step.inputs()[0]),
)
