"""diag(G) of the path kernel: one forward and one backward pass through the lifted network.

Parameters are squared, inputs are ones, operators have their lifted form, all outputs are summed;
the derivative in the squared parameters is diag(G) (arXiv 2602.19799).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..engine.graph import RescalingGraph
from ..errors import InvalidInputError
from ..memory import exhaustion_told
from ..structured import Reduced
from .checks import check_graph
from .inputs import ExampleInputs, check_model, check_parameters, unwrapped
from .lift import Lift
from .parts import Keep, aligned, reduced_parts
from .scaled import TooWideError
from .trace import trace

__all__ = ["diag_g", "reduced_diag_g"]

_WORTHWHILE = 1_000_000


@exhaustion_told("diag_g")
def diag_g(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    dtype: torch.dtype = torch.float64,
    graph: RescalingGraph | None = None,
) -> Tensor:
    """The diagonal of the path kernel's Gram matrix G, one entry per scalar parameter.

    Args:
        model: the network; neither it nor its parameters' gradients are changed.
        example_inputs: as for `trace`. Their values do not matter, and neither does the batch size
            as long as the model treats samples independently.
        dtype: of the computation and of the result: torch.float64 or torch.float32. Neither
            autocasting nor reduced precision of float32 products (TF32 on GPUs) applies.
        graph: what `trace(model, example_inputs)` returned, to save tracing again.

    Returns:
        Tensor of shape (p,), non-negative, on the model's device, in the order of
        ``model.parameters()`` flattened and concatenated. A parameter used k times gets the sum
        over its uses; one that no path goes through gets 0. If the entries do not fit the dtype's
        range, all are divided by one power of two, to which the criterion is blind, and positive
        entries that are still too small become the smallest normal number.

    Raises:
        InvalidInputError: an argument is unusable, or a parameter or buffer is not finite.
        TraceError: the model could not be captured.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InvalidInputError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r}")
    model = unwrapped(model)
    check_model(model)
    check_parameters(model)
    graph = trace(model, example_inputs) if graph is None else graph
    check_graph(graph, model)
    lift = Lift(graph, model, dtype)
    g = torch.zeros(graph.shape[0], dtype=dtype, device=lift.device)
    parts = []

    def ready(number: int, value: Tensor, exponent: int) -> None:
        info = graph.parameters[number]
        part = g[info.offset : info.offset + info.size]
        part.copy_(value.reshape(-1))
        parts.append((part, exponent))

    lift.differentiate(ready)
    for (part, _), moved in zip(parts, aligned(parts), strict=True):
        if moved is not part:
            part.copy_(moved)
    return g


def reduced_diag_g(
    model: nn.Module, graph: RescalingGraph, keep: Keep | None = None
) -> list[Tensor | Reduced]:
    """diag(G) per parameter, for `solve(graph, ...)`: as sums where rows of B are equal.

    Each parameter's part is summed as soon as it is known, and dropped. Sums and what is kept are
    float64. So is the computation, unless a million parameters or more are float32 or less, and on
    the CPU. Then it is float32: rounding these parameters moves diag(G) as much, and all terms are
    positive, so that no relative error grows by cancellation. Where entries lie too far apart for
    the range of float32, it is float64 again.

    Args:
        model: with finite parameters.
        graph: of the model.
        keep: takes what is to be kept; then no squared parameter is held longer than it is used.
    """
    frugal = keep is not None
    if _single_suffices(model):
        try:
            lift = Lift(graph, model, torch.float32, guarded=True, frugal=frugal)
            return reduced_parts(graph, lift.differentiate, lift.device, keep=keep)
        except (TooWideError, InvalidInputError):
            pass
    lift = Lift(graph, model, torch.float64, frugal=frugal)
    return reduced_parts(graph, lift.differentiate, lift.device, keep=keep)


def _single_suffices(model: nn.Module) -> bool:
    """Whether float32 holds the parameters, and saves much."""
    parameters = list(model.parameters())
    narrow = all(x.dtype != torch.float64 and x.device.type == "cpu" for x in parameters)
    worthwhile = sum(x.numel() for x in parameters) >= _WORTHWHILE
    return worthwhile and narrow
