"""What the criteria ask of a PyTorch model."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..engine.biases import biases
from ..engine.criteria import Criterion, Problem, all_at_once, of_paths, of_ranges, of_squares
from ..engine.graph import RescalingGraph
from ..structured import Reduced
from .diag_g import diag_g, reduced_diag_g
from .inputs import ExampleInputs
from .parts import Keep, Ready, reduced_parts
from .scaled import normalise

__all__ = ["problem"]

_FEW = 1 << 22  # parameters of which all weights, and B, take little memory
_ADDED = {
    "aten.add": ("self", "other"),
    "aten.sub": ("self", "other"),
    "aten.rsub": ("self", "other"),
    "aten.addmm": ("self",),
    "aten.baddbmm": ("self",),
    "aten.addcmul": ("self",),
}


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
        raise all_at_once()
    if criterion == "cle":
        skipped = biases(graph.program, _ADDED)
        sizes = {
            number: partial(_sizes, x)
            for number, x in enumerate(model.parameters())
            if number not in skipped and graph.columns(number) is not None
        }
        return of_ranges(graph, sizes)
    if criterion == "enorm":
        squares = _squares(model, graph, reduce=True, keep=keep)
        whole = partial(_squares, model, graph, reduce=False)
        return of_squares(graph, squares, whole, may_be_whole)
    g = reduced_diag_g(model, graph, keep)
    return of_paths(graph, g, partial(diag_g, model, example_inputs, graph=graph), may_be_whole)


def _sizes(parameter: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(parameter.detach().double().abs().cpu().reshape(-1))


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
