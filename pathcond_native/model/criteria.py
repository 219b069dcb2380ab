"""The criteria behind `rescale_`: what each asks of a model, and who minimises it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from ..errors import InvalidInputError
from ..result import SolveResult
from ..solver import solve
from ..structured import Reduced, WholeNeededError
from .diag_g import diag_g, reduced_diag_g
from .equalise import Equalisation
from .graph import RescalingGraph
from .inputs import ExampleInputs
from .parts import Keep, Ready, reduced_parts
from .scaled import normalise

__all__ = ["CRITERIA", "Criterion", "Problem", "problem"]

Criterion = Literal["pathcond", "enorm", "cle"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

_FEW = 1 << 22  # parameters of which all weights, and B, take little memory
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


def problem(
    criterion: Criterion,
    model: nn.Module,
    example_inputs: ExampleInputs,
    graph: RescalingGraph,
    keep: Keep | None = None,
) -> Problem:
    """What a criterion needs of a model with finite parameters, which stays as it is.

    With `keep`, see `reduced_parts`, at most a few tensors of the size of a parameter are in memory
    at a time, unless the model has few parameters.

    Raises:
        InvalidInputError: with `keep`, that is not possible; solving may also find that.
    """
    may_be_whole = keep is None or graph.shape[0] <= _FEW
    if not may_be_whole and (criterion == "cle" or graph.panels is None):
        raise _all_at_once()
    if criterion == "cle":
        return _Ranges(model, graph)
    if criterion == "enorm":
        return _Sums(
            graph,
            criterion,
            _squares(model, graph, reduce=True, keep=keep),
            lambda: _squares(model, graph, reduce=False),
            may_be_whole,
            "all parameters that could be rescaled are 0",
            "all that enters it, or all that leaves it, is 0",
            _ONE_SIDED,
        )
    return _Sums(
        graph,
        criterion,
        reduced_diag_g(model, graph, keep),
        lambda: diag_g(model, example_inputs, graph=graph),
        may_be_whole,
        "no path reaches an output",
        "no path to an output goes through it",
        "no path to an output goes through a rescalable neuron",
    )


class _Sums:
    """A criterion of the form that `solve` minimises, with weights g for the rows of B."""

    def __init__(
        self,
        graph: RescalingGraph,
        criterion: Literal["pathcond", "enorm"],
        g: list[Tensor | Reduced],
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
                raise _all_at_once() from error
            self._g = self._whole()
            return solve(self._graph, self._g, criterion=self._criterion, **options)


class _Ranges:
    """Cross-layer equalisation."""

    nothing: str | None = None
    idle = "all weights that enter it, or all that leave it, are 0"
    all_idle = _ONE_SIDED

    def __init__(self, model: nn.Module, graph: RescalingGraph) -> None:
        self._ranges = Equalisation(model, graph)

    def solve(self, **options: Any) -> SolveResult:
        names = ("u0", "tol", "max_sweeps", "max_scale")
        return self._ranges.solve(**{k: x for k, x in options.items() if k in names})


def _all_at_once() -> InvalidInputError:
    return InvalidInputError(
        "model: this criterion needs all weights of this model at once, which does not go tensor "
        "by tensor (cle does, and pathcond and enorm where channels are multiplied, or a layer "
        "writes to what it reads)"
    )


def _squares(
    model: nn.Module, graph: RescalingGraph, *, reduce: bool, keep: Keep | None = None
) -> list[Tensor | Reduced]:
    """The squares of all parameters that a neuron may rescale; others are 0."""
    parameters = list(model.parameters())

    def produce(ready: Ready) -> None:
        for number, parameter in enumerate(parameters):
            if graph.columns(number) is not None:
                root, exponent = normalise(parameter.detach().double(), 0)
                ready(number, root.square(), 2 * exponent)

    device = parameters[0].device if parameters else torch.device("cpu")
    return reduced_parts(graph, produce, device, reduce=reduce, keep=keep)
