"""What a rule is: how one operator moves channel scales, and its lifted form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from .program import Step

if TYPE_CHECKING:
    from .diag_g import Lift
    from .groups import Scales
    from .scaled import Scaled

__all__ = ["NoRule", "Rule", "moves", "only_if", "require_static"]


class NoRule(Exception):  # noqa: N818  (a signal inside the package, not an error)
    """The operator has a rule, but not for these operands; the text says why."""


@dataclass(frozen=True)
class Rule:
    """`scale` maps ids to ids, `lift` maps lifted values to a lifted value; both for one step.

    They describe the first output; any other (indices, masks, saved statistics) is pinned.
    """

    scale: Callable[[Scales, Step], Tensor]
    lift: Callable[[Lift, Step], Scaled]
    moves: bool = False


def moves(f: Callable[[Step, Tensor], Tensor], argument: str = "self") -> Rule:
    """Entries change places and nothing else happens: ids and lifted values move alike."""
    return Rule(
        lambda scales, step: f(step, scales[step[argument]]),
        lambda lift, step: lift[step[argument]].map(lambda x: f(step, x)),
        moves=True,
    )


def only_if(condition: Callable[[Step], bool], reason: str, rule: Rule) -> Rule:
    """The rule, for steps that meet a condition on their arguments."""

    def scale(scales: Scales, step: Step) -> Tensor:
        if not condition(step):
            raise NoRule(reason)
        return rule.scale(scales, step)

    return Rule(scale, rule.lift)


def require_static(scales: Scales, step: Step, *names: str) -> None:
    """Raise `NoRule` if one of these arguments is a function of the model's input."""
    for name in names:
        if step[name] is not None and not scales.is_static(step[name]):
            raise NoRule(f"its {name} depends on the model's input")
