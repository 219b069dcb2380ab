"""What a rule is: how one operator moves channel scales, and its lifted form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .program import Step

__all__ = ["NoRule", "Rule", "only_if", "require_static"]


class NoRule(Exception):  # noqa: N818  (a signal inside the package, not an error)
    """The operator has a rule, but not for these operands; the text says why."""


Array = TypeVar("Array")
Lifted = TypeVar("Lifted")


@dataclass(frozen=True)
class Rule(Generic[Array, Lifted]):
    """`scale` maps ids to ids, `lift` maps lifted values to a lifted value; both for one step.

    `scale` takes the front end's `Scales`, `lift` its lifted network. Either returns one result per
    output, or a single one for the first output; the others (indices, masks, saved statistics) are
    then fresh ones of scale 1. `move` is set if every entry of the outputs is an entry of argument
    `moved`: a moved parameter is still that parameter.
    """

    scale: Callable[[Any, Any], Array | Sequence[Array]]
    lift: Callable[[Any, Any], Lifted | Sequence[Lifted]]
    move: Callable[[Any, Any], Array | Sequence[Array]] | None = None
    moved: str = ""


def only_if(
    condition: Callable[[Any], bool], reason: str, rule: Rule[Array, Lifted]
) -> Rule[Array, Lifted]:
    """The rule, for steps that meet a condition on their arguments."""

    def scale(scales: Any, step: Step) -> Array | Sequence[Array]:
        if not condition(step):
            raise NoRule(reason)
        return rule.scale(scales, step)

    def move(step: Step, x: Any) -> Array | Sequence[Array]:
        if not condition(step):
            raise NoRule(reason)
        assert rule.move is not None
        return rule.move(step, x)

    return Rule(scale, rule.lift, move if rule.move is not None else None, rule.moved)


def require_static(scales: Any, step: Step, *names: str) -> None:
    """Raise `NoRule` if one of these arguments is a function of the model's input."""
    for name in names:
        if step[name] is not None and not scales.is_static(step[name]):
            raise NoRule(f"its {name} depends on the model's input")
