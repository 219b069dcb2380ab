"""B as the structure of a network: sums over its tensors take the place of the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.arrays import Framework, read_weights
from pathcond_native.errors import InvalidInputError

__all__ = ["Graph", "Panel", "read_parts", "solve_graph"]


class Panel(Protocol):
    """How to see one tensor's part of g, and what its channels enter and leave."""

    @property
    def entered(self) -> npt.NDArray[np.int32]:
        """(k, e): neurons, -1 for none."""

    @property
    def left(self) -> npt.NDArray[np.int32]:
        """(k, l): neurons, -1 for none."""

    def view(self, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of g as (k, e, l, s, r)."""


@runtime_checkable
class Graph(Protocol):
    """What `solve` takes in place of B: a `RescalingGraph`, or anything that can tell the same."""

    shape: tuple[int, int]
    """(p, H)"""

    @property
    def panels(self) -> Sequence[tuple[slice, Panel]] | None:
        """Rows of B and how they are connected, all rows in order; None if only B can tell."""

    def incidence(self) -> Any:
        """B itself."""

    def multiply(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """B u."""


def read_parts(graph: Graph, g: Any) -> tuple[list[npt.NDArray[Any]], Framework]:
    """g per panel: views of one array, or the arrays themselves where g is a list of them."""
    rows = graph.shape[0]
    # A list of NumPy scalars is one array; a list of arrays may hold parameters of shape ().
    shapes = [getattr(x, "shape", None) for x in g] if isinstance(g, (list, tuple)) else []
    if None in shapes or not any(shapes):
        whole, framework = read_weights(g)
        if len(whole) != rows:
            raise InvalidInputError(
                f"g: expected one entry per parameter of the graph, which has {rows}, "
                f"got {len(whole)}"
            )
        rows_of = [slice(None)] if graph.panels is None else [part for part, _ in graph.panels]
        return [whole[part] for part in rows_of], framework
    expected = [part.stop - part.start for part, _ in graph.panels or ()]
    read = [read_weights(part.reshape(-1), f"g[{i}]") for i, part in enumerate(g)]
    sizes = [len(part) for part, _ in read]
    if sizes != expected and (graph.panels is not None or sum(sizes) != rows):
        raise InvalidInputError(
            f"g: expected {len(expected)} arrays, one per tensor of the graph with an entry for "
            f"each of its {rows} parameters, got {len(sizes)} with {sum(sizes)} entries in all"
        )
    parts = [part for part, _ in read]
    dtype = np.result_type(np.float32, *parts)
    return [part.astype(dtype, copy=False) for part in parts], read[0][1] if read else Framework()


def solve_graph(
    graph: Graph, parts: list[npt.NDArray[Any]], options: dict[str, Any]
) -> _core.Solution | None:
    """The solution without forming B; None where that cannot be."""
    if graph.panels is None:
        return None
    views = [
        (panel.view(part), panel.entered, panel.left)
        for part, (_, panel) in zip(parts, graph.panels, strict=True)
    ]
    return _core.solve_panels(graph.shape[1], views, **options)
