"""`RescaleReport`: what a rescaling did, what it left alone, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .groups import Pinned, Unsupported

if TYPE_CHECKING:
    from ..result import SolveResult

__all__ = ["GroupReport", "RescaleReport"]


@dataclass(frozen=True)
class GroupReport:
    """The neurons of one layer and the range of factors λ applied to what enters them."""

    name: str
    size: int
    smallest_scale: float
    largest_scale: float


@dataclass(frozen=True)
class RescaleReport:
    """Result of `rescale_`; prints as a table."""

    neurons: int
    """Number of rescalable neurons, H."""
    groups: tuple[GroupReport, ...]
    """Neurons by layer, in the order of the network."""
    pinned: tuple[Pinned, ...]
    """Channels that were not rescaled, with the reason."""
    unsupported: tuple[Unsupported, ...]
    """Operators that end paths, with the reason."""
    objective: float
    """F at the solution (nan if there was nothing to solve)."""
    initial_objective: float
    """F of the network as it was (nan if there was nothing to solve)."""
    gradient_norm: float
    """max |∇F| / p at the solution (nan if there was nothing to solve)."""
    max_relative_error: float
    """Largest change of an output relative to its largest entry (nan if not verified)."""
    seconds: dict[str, float]
    """Seconds spent per stage."""
    result: SolveResult | None
    """What the solver returned, or None."""
    nothing_because: str | None
    """Why nothing was rescaled; None if something was."""

    def __str__(self) -> str:
        if self.nothing_because is not None:
            lines = [f"nothing to rescale, because {self.nothing_because}"]
        else:
            lines = [
                f"rescaled {self.neurons} neurons in {len(self.groups)} layers",
                f"  objective F   {self.initial_objective:.9g} -> {self.objective:.9g}",
                f"  |grad F|/p    {self.gradient_norm:.1e}",
                f"  output moved  {self.max_relative_error:.1e} (relative)",
            ]
        lines += _table(
            ("layer", "neurons", "scales"),
            [
                (g.name, str(g.size), f"{g.smallest_scale:.3g} .. {g.largest_scale:.3g}")
                for g in self.groups
            ],
        )
        lines += _table(
            ("not rescaled", "channels", "reason"),
            [(x.where, str(x.channels), x.reason) for x in self.pinned],
        )
        lines += _table(
            ("operator", "in", "ends paths because"),
            [(x.operator, x.where, x.reason) for x in self.unsupported],
        )
        spent = ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in self.seconds.items())
        return "\n".join([*lines, f"time: {spent}"])


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return ["", *lines]
