"""Whether a graph is that of a model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

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
    names, alias = [name for name, _ in found], graph.program.aliases
    for a, b in _sharing_memory(list(model.parameters())):
        if alias[a] != alias[b] and not graph.columns(a) is graph.columns(b) is None:
            raise InvalidInputError(
                f"graph: it was traced when parameters '{names[a]}' and '{names[b]}' shared no "
                "memory, as they now do; trace the model again"
            )


def _sharing_memory(tensors: list[Tensor]) -> Iterator[tuple[int, int]]:
    """Neighbours in memory that reach into each other, by number."""
    places = []
    for number, x in enumerate(tensors):
        if x.layout is torch.strided and not x.is_meta and x.numel():
            steps = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
            start = x.data_ptr()
            places.append((str(x.device), start, start + (1 + steps) * x.element_size(), number))
    device, end, owner = "", 0, 0
    for where, start, stop, number in sorted(places):
        if where == device and start < end:
            yield owner, number
        if where != device or stop > end:
            device, end, owner = where, stop, number
