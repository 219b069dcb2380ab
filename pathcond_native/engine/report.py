"""`RescaleReport`: what a rescaling did, what it left alone, and why."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from .criteria import Criterion
from .found import Found
from .graph import RescalingGraph
from .groups import Pinned, Unsupported
from .spread import Spread
from .table import NAME, WIDTH, shorten, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..result import SolveResult

__all__ = [
    "GroupReport",
    "RescaleReport",
    "Verification",
    "nothing_done",
    "pinned_rows",
    "pinned_table",
    "report_of",
    "unsupported_rows",
    "unsupported_table",
]

_MOST = 14  # rows of a table before the middle is left out
_MORE = "{} more reasons"
PINNED = ("not rescaled", "channels", "because")
UNSUPPORTED = ("paths end in", "times", "because")
OBJECTIVE = {"pathcond": "objective F", "enorm": "sum of squares", "cle": "log(in / out)"}
_GRADIENT = {"pathcond": "|grad F|/p", "enorm": "|grad log|"}
_FAR = 32
"""A factor from which on training suffered in benchmarks/results/EVIDENCE.md."""
_OPERATOR_IN_PLACE = re.compile(r"(\b\w+\.\w+) in [^\s:]+")


Row: TypeAlias = "tuple[str, str, str]"


@dataclass(frozen=True)
class GroupReport:
    """The neurons of one layer and the range of factors λ applied to what enters them."""

    name: str
    size: int
    smallest_scale: float
    largest_scale: float
    scales: npt.NDArray[np.float64] = field(repr=False, compare=False)
    """The factor λ of every neuron, shape (size,)."""

    @property
    def farthest(self) -> float:
        """The largest of all λ and 1/λ."""
        return max(self.largest_scale, 1 / self.smallest_scale if self.smallest_scale else math.inf)

    @property
    def range(self) -> str:
        """From the smallest to the largest, as printed."""
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

    criterion: Criterion
    """What the scales were chosen by: "pathcond", "enorm" or "cle"."""
    neurons: int
    """Number of rescalable neurons, H."""
    groups: tuple[GroupReport, ...]
    """Neurons by layer, in the order of the network."""
    pinned: tuple[Pinned, ...]
    """Channels that were not rescaled, with the reason."""
    unsupported: tuple[Unsupported, ...]
    """Operators that end paths, with the reason."""
    objective: float
    """The criterion of the network as it is now (nan if there was nothing to solve): F, the sum of
    squares, or the largest |log(range that enters / range that leaves)| of a neuron."""
    initial_objective: float
    """The same of the network as it was."""
    gradient_norm: float
    """max |∇F| / p of the network as it is now, near 0 at full strength without rounding; of log N
    for a sum of squares N; for ranges the objective again."""
    verification: Verification
    """How the outputs were compared."""
    underflow: dict[str, int]
    """By tensor, entries that shrank to less than the smallest normal number of their dtype, where
    they lose bits or become 0. What is not listed was rounded once, to the dtype's precision."""
    seconds: dict[str, float]
    """Seconds spent per stage; a given graph leaves no stage "trace"."""
    result: SolveResult | None
    """What the solver returned (before strength and rounding), or None."""
    nothing_because: str | None
    """Why nothing was rescaled; None if something was."""
    max_scale: float | None = None
    """The bound on every λ, None without one."""
    held: int = 0
    """Neurons whose λ is at the bound, before strength and rounding: they would go farther."""
    idle: tuple[Pinned, ...] = ()
    """Rescalable neurons that the criterion leaves as they are, with the reason."""
    spread: tuple[Spread, ...] | None = None
    """Quantiles of diag(G) per parameter, before and after; None unless they were asked for."""

    @property
    def max_relative_error(self) -> float:
        """Largest change of an output relative to its largest entry (nan if not verified)."""
        return self.verification.max_relative_error

    def __str__(self) -> str:
        parts = [
            self.summary(),
            table(
                ("layer", "neurons", "factors λ"),
                [(shorten(g.name), str(g.size), g.range) for g in self.groups],
                _MOST,
                "{} more layers",
            ),
            pinned_table((*self.pinned, *self.idle)),
            unsupported_table(self.unsupported),
            self._time(),
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines)

    def plot(self) -> Figure:
        """A matplotlib figure: λ per layer, diag(G) per parameter if known, objective per sweep.

        Raises:
            InvalidInputError: there was nothing to solve.
            ModuleNotFoundError: matplotlib is not installed.
        """
        from .picture import draw

        return draw(self)

    def _repr_html_(self) -> str:
        from .page import fragment

        return fragment(self)

    def summary(self) -> list[str]:
        """The first lines of the report, as printed."""
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
        count = _count(self.neurons, "neuron")
        lines = [
            f"rescaled {count} in {_count(len(self.groups), 'layer')} by {self.criterion}",
            f"  {OBJECTIVE[self.criterion]:<14} {self.initial_objective:.9g} -> "
            f"{self.objective:.9g}",
            f"  outputs moved  {moved}",
        ]
        if self.criterion != "cle":
            lines.insert(2, f"  {_GRADIENT[self.criterion]:<14} {self.gradient_norm:.1e}")
        farthest = max((x.farthest for x in self.groups), default=1.0)
        if self.max_scale is None and farthest > _FAR:
            lines.insert(1, f"  some λ are as far as {farthest:.2g} from 1: see `max_scale`")
        if self.held:
            lines.insert(1, f"  {self.held} of them are held at max_scale={self.max_scale:g}")
        if idle := sum(x.channels for x in self.idle):
            lines.insert(1, f"  {idle} of them stay, see below")
        lines += [f"    in {run}" for run in check.runs]
        if self.underflow:
            name, *others = self.underflow
            lost = _count(sum(self.underflow.values()), "entry", "entries")
            more = f" and {_count(len(others), 'more tensor')}" if others else ""
            lines.append(f"  underflow      {lost} of {name}{more}")
        return lines

    def _time(self) -> list[str]:
        spent = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in self.seconds.items())
        return textwrap.wrap(f"time: {spent or 'none'}", WIDTH, subsequent_indent="  ")


def pinned_table(pinned: Iterable[Pinned]) -> list[str]:
    """Channels that are not rescaled, one line per reason; where an operator stands is left out."""
    return table(PINNED, pinned_rows(pinned), _MOST, _MORE)


def unsupported_table(unsupported: Iterable[Unsupported]) -> list[str]:
    """Operators that end paths, one line per operator and reason."""
    return table(UNSUPPORTED, unsupported_rows(unsupported), _MOST, _MORE)


def pinned_rows(pinned: Iterable[Pinned]) -> list[Row]:
    """The rows of `pinned_table`, all of them."""
    return _by_reason(
        [(x.where, x.channels, _OPERATOR_IN_PLACE.sub(r"\1", x.reason)) for x in pinned]
    )


def unsupported_rows(unsupported: Iterable[Unsupported]) -> list[Row]:
    """The rows of `unsupported_table`, all of them."""
    return _by_reason([(x.where, 1, f"{x.operator}: {x.reason}") for x in unsupported])


def nothing_done(
    criterion: Criterion, graph: RescalingGraph, seconds: dict[str, float], reason: str
) -> RescaleReport:
    """The report where there was nothing to solve."""
    return RescaleReport(
        criterion=criterion,
        neurons=graph.shape[1],
        groups=(),
        pinned=graph.pinned,
        unsupported=graph.unsupported,
        objective=math.nan,
        initial_objective=math.nan,
        gradient_norm=math.nan,
        verification=Verification((), math.nan, False),
        underflow={},
        seconds=seconds,
        result=None,
        nothing_because=reason,
    )


def report_of(
    criterion: Criterion,
    graph: RescalingGraph,
    found: Found,
    max_scale: float | None,
    verification: Verification,
    underflow: dict[str, int],
    seconds: dict[str, float],
    spread: tuple[Spread, ...] | None = None,
) -> RescaleReport:
    """The report on a rescaling that was applied."""
    result, log2 = found.result, found.log2
    with np.errstate(over="ignore", under="ignore"):
        scales = np.exp2(log2)
    groups = []
    for group in graph.groups:
        part = scales[group.start : group.start + group.size]
        low, high = float(part.min()), float(part.max())
        groups.append(GroupReport(group.name, group.size, low, high, part))
    frozen = result._framework.to_numpy(result.frozen)
    # `solve` stays a rounding below the bound.
    farthest = math.inf if max_scale is None else 2.0 * math.log(max_scale) * (1 - 1e-12)
    idle = [int(frozen[x.start : x.start + x.size].sum()) for x in graph.groups]
    return RescaleReport(
        criterion=criterion,
        neurons=graph.shape[1],
        groups=tuple(groups),
        pinned=graph.pinned,
        unsupported=graph.unsupported,
        objective=found.objective,
        initial_objective=result.initial_objective,
        gradient_norm=found.gradient_norm,
        verification=verification,
        underflow=underflow,
        seconds=seconds,
        result=result,
        nothing_because=found.all_idle if frozen.all() else None,
        max_scale=max_scale,
        held=int((np.abs(result._u[~frozen.astype(bool)]) >= farthest).sum()),
        idle=tuple(
            Pinned(group.name, n, found.idle)
            for group, n in zip(graph.groups, idle, strict=True)
            if n
        ),
        spread=spread,
    )


def _by_reason(entries: list[tuple[str, int, str]]) -> list[Row]:
    """Entries of the same reason share a line."""
    places: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for where, count, reason in entries:
        places.setdefault(reason, []).append(where)
        counts[reason] = counts.get(reason, 0) + count
    return [
        (_places(list(dict.fromkeys(where))), str(counts[reason]), reason)
        for reason, where in places.items()
    ]


def _places(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return shorten(names[0], NAME - len(more)) + more


def _count(n: int, one: str, several: str = "") -> str:
    return f"{n} {one if n == 1 else several or one + 's'}"
