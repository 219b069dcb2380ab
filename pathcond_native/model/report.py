"""`RescaleReport`: what a rescaling did, what it left alone, and why."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .groups import Pinned, Unsupported
from .table import NAME, WIDTH, shorten, table

if TYPE_CHECKING:
    from ..result import SolveResult

__all__ = ["GroupReport", "RescaleReport", "Verification", "pinned_table", "unsupported_table"]

_MOST = 14  # rows of a table before the middle is left out
_OPERATOR_IN_PLACE = re.compile(r"(\b\w+\.\w+) in [^\s:]+")


@dataclass(frozen=True)
class GroupReport:
    """The neurons of one layer and the range of factors λ applied to what enters them."""

    name: str
    size: int
    smallest_scale: float
    largest_scale: float

    @property
    def scales(self) -> str:
        """The range, as printed."""
        return f"{self.smallest_scale:.3g} .. {self.largest_scale:.3g}"


@dataclass(frozen=True)
class Verification:
    """How the outputs before and after a rescaling were compared."""

    runs: tuple[str, ...]
    """What was run: mode and inputs. Runs in which the model raised are not among them."""
    max_relative_error: float
    """Largest change of an output relative to its largest entry (nan if nothing was compared)."""
    proven_in_float64: bool
    """Whether it exceeds the dtype's tolerance and a float64 copy proved it to be rounding."""


@dataclass(frozen=True)
class RescaleReport:
    """Result of `rescale_`; prints as a table. Its arrays and numbers are copies."""

    neurons: int
    """Number of rescalable neurons, H."""
    groups: tuple[GroupReport, ...]
    """Neurons by layer, in the order of the network."""
    pinned: tuple[Pinned, ...]
    """Channels that were not rescaled, with the reason."""
    unsupported: tuple[Unsupported, ...]
    """Operators that end paths, with the reason."""
    objective: float
    """F of the network as it is now (nan if there was nothing to solve)."""
    initial_objective: float
    """F of the network as it was (nan if there was nothing to solve)."""
    gradient_norm: float
    """max |∇F| / p of the network as it is now: near 0 at full strength without rounding."""
    verification: Verification
    """How the outputs were compared."""
    seconds: dict[str, float]
    """Seconds spent per stage; a given graph leaves no stage "trace"."""
    result: SolveResult | None
    """What the solver returned (before strength and rounding), or None."""
    nothing_because: str | None
    """Why nothing was rescaled; None if something was."""

    @property
    def max_relative_error(self) -> float:
        """Largest change of an output relative to its largest entry (nan if not verified)."""
        return self.verification.max_relative_error

    def __str__(self) -> str:
        parts = [
            self._summary(),
            table(
                ("layer", "neurons", "factors λ"),
                [(shorten(g.name), str(g.size), g.scales) for g in self.groups],
                _MOST,
                "{} more layers",
            ),
            pinned_table(self.pinned),
            unsupported_table(self.unsupported),
            self._time(),
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines)

    def _summary(self) -> list[str]:
        if self.nothing_because is not None:
            return [f"nothing to rescale, because {self.nothing_because}"]
        check = self.verification
        if not check.runs:
            moved = "not verified"
        elif check.max_relative_error == 0.0:
            moved = "not at all, every bit is the same"
        else:
            moved = f"by {check.max_relative_error:.1e} of their largest entry"
            moved += ", proven to be rounding" if check.proven_in_float64 else ""
        lines = [
            f"rescaled {_count(self.neurons, 'neuron')} in {_count(len(self.groups), 'layer')}",
            f"  objective F    {self.initial_objective:.9g} -> {self.objective:.9g}",
            f"  |grad F|/p     {self.gradient_norm:.1e}",
            f"  outputs moved  {moved}",
        ]
        idle = int(self.result.frozen.sum()) if self.result else 0
        if idle:
            lines.insert(1, f"  {idle} of them stay: no path to an output is theirs")
        return lines + [f"    in {run}" for run in check.runs]

    def _time(self) -> list[str]:
        spent = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in self.seconds.items())
        return textwrap.wrap(f"time: {spent or 'none'}", WIDTH, subsequent_indent="  ")


def pinned_table(pinned: Iterable[Pinned]) -> list[str]:
    """Channels that are not rescaled, one line per reason; where an operator stands is left out."""
    return _by_reason(
        ("not rescaled", "channels", "because"),
        [(x.where, x.channels, _OPERATOR_IN_PLACE.sub(r"\1", x.reason)) for x in pinned],
    )


def unsupported_table(unsupported: Iterable[Unsupported]) -> list[str]:
    """Operators that end paths, one line per operator and reason."""
    return _by_reason(
        ("paths end in", "times", "because"),
        [(x.where, 1, f"{x.operator}: {x.reason}") for x in unsupported],
    )


def _by_reason(header: tuple[str, str, str], entries: list[tuple[str, int, str]]) -> list[str]:
    """Entries of the same reason share a line."""
    places: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for where, count, reason in entries:
        places.setdefault(reason, []).append(where)
        counts[reason] = counts.get(reason, 0) + count
    rows = [
        (_places(list(dict.fromkeys(where))), str(counts[reason]), reason)
        for reason, where in places.items()
    ]
    return table(header, rows, _MOST, "{} more reasons")


def _places(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return shorten(names[0], NAME - len(more)) + more


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
