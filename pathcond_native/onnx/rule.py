"""Rules of ONNX operators that move entries, or keep them where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..engine import rule
from ..engine.program import Step, Value
from ..engine.rule import NoRule
from .tape import Array

if TYPE_CHECKING:
    from ..engine.facts import Ids
    from .lift import Lift
    from .scales import Scales
    from .tape import Scaled

    Rule: TypeAlias = rule.Rule[Ids, Scaled]
else:
    Rule = rule.Rule

__all__ = [
    "ELEMENTWISE",
    "AnyArray",
    "Move",
    "Rule",
    "argument",
    "first_operand",
    "moves",
    "setting",
]

AnyArray: TypeAlias = npt.NDArray[Any]
Move = Callable[[Step, AnyArray], "AnyArray | Sequence[AnyArray]"]


def argument(step: Step, *names: str) -> Any:
    """The argument that goes by one of these names in some version of the operator."""
    return next((step.arguments[name] for name in names if name in step.arguments), None)


def setting(step: Step, *names: str) -> Any:
    """A constant argument; None if it is not given.

    Raises:
        NoRule: it is computed by the model.
    """
    found = argument(step, *names)
    if isinstance(found, Value):
        raise NoRule(f"its {names[0]} is not a constant")
    return found


def first_operand(step: Step) -> Value:
    """The tensor that an operator acts on."""
    return step.inputs()[0]


def moves(f: Move, name: str) -> Rule:
    """Entries change places and nothing else happens: ids and lifted values move alike.

    `name` is that of the operand. The derivative goes back to where the numbers of the places
    came from.
    """

    def scale(scales: Scales, step: Step) -> Ids | Sequence[Ids]:
        return f(step, scales[step[name]])

    def lift(lift: Lift, step: Step) -> Scaled | list[Scaled]:
        x = lift[step[name]]
        results = f(step, x.value)
        if isinstance(results, np.ndarray):
            return lift.tape.record(results, x.exponent, [(x, _back(f, step, x.value.shape), 0)])
        return [
            lift.tape.record(y, x.exponent, [(x, _back(f, step, x.value.shape, i), 0)])
            for i, y in enumerate(results)
        ]

    return Rule(scale, lift, f, name)


def _back(
    f: Move, step: Step, shape: tuple[int, ...], output: int | None = None
) -> Callable[[Array], Array]:
    size = int(np.prod(shape))

    def back(gradient: Array) -> Array:
        moved = f(step, np.arange(size).reshape(shape))
        places = np.asarray(moved if output is None else moved[output])
        sums = np.bincount(places.reshape(-1), gradient.reshape(-1), minlength=size)
        return sums.reshape(shape).astype(np.float64, copy=False)

    return back


# Entry by entry and positively homogeneous: a path keeps its weight. Unlike a move, it makes
# something else of a parameter.
ELEMENTWISE = Rule(
    lambda scales, step: scales[first_operand(step)],
    lambda lift, step: lift[first_operand(step)],
)
