"""B as the structure of a network: sums over its tensors take the place of the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.errors import InvalidInputError

__all__ = ["Graph", "Panel", "check_length", "solve_graph"]


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


def check_length(graph: Graph, rows: int) -> None:
    """Raise `InvalidInputError` unless g has one entry per row."""
    if rows != graph.shape[0]:
        raise InvalidInputError(
            f"g: expected one entry per parameter of the graph, which has {graph.shape[0]}, "
            f"got {rows}"
        )


def solve_graph(
    graph: Graph, g: npt.NDArray[Any], options: dict[str, Any]
) -> _core.Solution | None:
    """The solution without forming B; None where that cannot be."""
    if graph.panels is None:
        return None
    parts = [(panel.view(g[rows]), panel.entered, panel.left) for rows, panel in graph.panels]
    return _core.solve_panels(graph.shape[1], g, parts, **options)
