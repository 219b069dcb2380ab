"""The criteria behind a rescaling: what each asks of a network, and who minimises it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, get_args

import numpy as np

from ..errors import InvalidInputError
from ..result import SolveResult
from ..solver import check_solve_options, solve
from ..structured import Reduced, WholeNeededError
from .clock import Clock
from .equalise import Equalisation, Sizes
from .found import Found
from .graph import RescalingGraph
from .rounding import RoundTo, check_round_to, exponents

__all__ = [
    "CRITERIA",
    "Criterion",
    "Problem",
    "all_at_once",
    "check_options",
    "find",
    "of_paths",
    "of_ranges",
    "of_squares",
]

Criterion = Literal["pathcond", "enorm", "cle"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

_ONE_SIDED = "no neuron has parameters other than 0 on both sides"


class Problem(Protocol):
    """One criterion for one model."""

    nothing: str | None
    """Why nothing can be rescaled; None if something may be."""
    idle: str
    """Why a neuron may be `frozen`."""
    all_idle: str
    """The same where all are."""

    def solve(self, **options: Any) -> SolveResult:
        """The minimiser, or with ``max_sweeps=0`` the values at ``u0``."""


def of_paths(
    graph: RescalingGraph, g: list[Any], whole: Callable[[], Any], may_be_whole: bool = True
) -> Problem:
    """F with diag(G), in parts; `whole` computes it as one array, if need be and allowed."""
    return _Sums(
        graph,
        "pathcond",
        g,
        whole,
        may_be_whole,
        "no path reaches an output",
        "no path to an output goes through it",
        "no path to an output goes through a rescalable neuron",
    )


def of_squares(
    graph: RescalingGraph, squares: list[Any], whole: Callable[[], Any], may_be_whole: bool = True
) -> Problem:
    """The sum of squares, from those of all parameters that a neuron may rescale."""
    return _Sums(
        graph,
        "enorm",
        squares,
        whole,
        may_be_whole,
        "all parameters that could be rescaled are 0",
        "all that enters it, or all that leaves it, is 0",
        _ONE_SIDED,
    )


def of_ranges(graph: RescalingGraph, sizes: Sizes) -> Problem:
    """Cross-layer equalisation."""
    return _Ranges(graph, sizes)


def all_at_once() -> InvalidInputError:
    """What is raised where weights may not be in memory all at once, but have to be."""
    return InvalidInputError(
        "model: this criterion needs all weights of this model at once, which does not go tensor "
        "by tensor (cle does, and pathcond and enorm where channels are multiplied, or a layer "
        "writes to what it reads)"
    )


class _Sums:
    """A criterion of the form that `solve` minimises, with weights g for the rows of B."""

    def __init__(
        self,
        graph: RescalingGraph,
        criterion: Literal["pathcond", "enorm"],
        g: list[Any],
        whole: Callable[[], Any],
        may_be_whole: bool,
        nothing: str,
        idle: str,
        all_idle: str,
    ) -> None:
        self._graph, self._criterion, self._whole = graph, criterion, whole
        self._may_be_whole = may_be_whole
        self._g: Any = g
        present = any(isinstance(part, Reduced) or bool(part.any()) for part in g)
        self.nothing = None if present else nothing
        self.idle, self.all_idle = idle, all_idle

    def solve(self, **options: Any) -> SolveResult:
        try:
            return solve(self._graph, self._g, criterion=self._criterion, **options)
        except WholeNeededError as error:
            if not self._may_be_whole:
                raise all_at_once() from error
            self._g = self._whole()
            return solve(self._graph, self._g, criterion=self._criterion, **options)


class _Ranges:
    """Cross-layer equalisation."""

    nothing: str | None = None
    idle = "all weights that enter it, or all that leave it, are 0"
    all_idle = _ONE_SIDED

    def __init__(self, graph: RescalingGraph, sizes: Sizes) -> None:
        self._ranges = Equalisation(graph, sizes)

    def solve(self, **options: Any) -> SolveResult:
        names = ("u0", "tol", "max_sweeps", "max_scale")
        return self._ranges.solve(**{k: x for k, x in options.items() if k in names})


def find(
    wanted: Problem,
    strength: float,
    round_to: RoundTo | None,
    options: Mapping[str, Any],
    clock: Clock,
) -> Found:
    """Solve a problem with the options of `solve`: method, tol, max_sweeps, max_scale, threads."""
    with clock.stage("solve"):
        result = wanted.solve(**options)
    with clock.stage("evaluate"):
        max_scale = math.inf if options["max_scale"] is None else options["max_scale"]
        log2 = exponents(result._u, strength, round_to, max_scale)
        reached = result
        if strength != 1.0 or round_to:  # where the network is now: no sweep from there
            bounds = {name: options[name] for name in ("max_scale", "threads")}
            reached = wanted.solve(u0=2.0 * math.log(2.0) * log2, max_sweeps=0, **bounds)
    objective, gradient_norm = reached.objective, reached.gradient_norm
    return Found(result, log2, objective, gradient_norm, wanted.idle, wanted.all_idle)


def check_options(
    criterion: Criterion,
    strength: float,
    round_to: RoundTo | None,
    verify: bool,
    of_solve: dict[str, Any],
) -> None:
    """Raise unless they are what `rescale_` and `solve` expect."""
    if criterion not in CRITERIA:
        raise InvalidInputError(f"criterion: expected one of {CRITERIA}, got {criterion!r}")
    if criterion == "cle" and of_solve["method"] != "auto":
        raise InvalidInputError(
            f"method: expected 'auto', the only one for 'cle', got {of_solve['method']!r}"
        )
    if isinstance(strength, bool) or not (
        isinstance(strength, (int, float, np.floating, np.integer)) and math.isfinite(strength)
    ):
        raise InvalidInputError(f"strength: expected a finite number, got {strength!r}")
    check_round_to(round_to)
    if not isinstance(verify, bool):
        raise InvalidInputError(f"verify: expected True or False, got {verify!r}")
    check_solve_options(of_solve)
