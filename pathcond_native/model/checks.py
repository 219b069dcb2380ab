"""Whether a graph is that of a model."""

from __future__ import annotations

from torch import nn

from ..engine.graph import RescalingGraph
from ..errors import InvalidInputError

__all__ = ["check_graph"]


def check_graph(graph: object, model: nn.Module) -> None:
    """Raise `InvalidInputError` unless the graph's parameters are those of the model."""
    if not isinstance(graph, RescalingGraph):
        raise InvalidInputError(
            f"graph: expected what trace(model, ...) returned, got {type(graph).__name__}"
        )
    expected = [(x.name, x.shape) for x in graph.parameters]
    found = [(name, tuple(x.shape)) for name, x in model.named_parameters()]
    if found != expected:
        odd = next((x for x in (*found, *expected) if (x in found) != (x in expected)), None)
        raise InvalidInputError(
            "graph: it was traced from another model; trace this one again "
            f"(expected {len(expected)} parameters, got {len(found)}; first difference: {odd})"
        )
    for number, (name, x) in enumerate(model.named_parameters()):
        if not x.is_floating_point() and graph.columns(number) is not None:
            raise InvalidInputError(
                f"graph: it was traced when parameter '{name}' was floating-point, which now is "
                f"{x.dtype}; trace the model again"
            )
