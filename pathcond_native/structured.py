"""B as the structure of a network: sums over its tensors take the place of the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.arrays import read_weights
from pathcond_native.device import solve_on_device
from pathcond_native.device_arrays import alike, copied, on_device, read_on_device
from pathcond_native.errors import InvalidInputError
from pathcond_native.frameworks import Framework, to_numpy

__all__ = [
    "Graph",
    "Panel",
    "Part",
    "Reduced",
    "WholeNeededError",
    "is_graph",
    "read_parts",
    "reduced",
    "solve_graph",
    "whole",
]


class Panel(Protocol):
    """How to see one tensor's part of g, and what its channels enter and leave."""

    @property
    def entered(self) -> npt.NDArray[np.int32]:
        """(k, e): neurons, -1 for none."""

    @property
    def left(self) -> npt.NDArray[np.int32]:
        """(k, l): neurons, -1 for none."""

    def view(self, part: Any) -> Any:
        """The part of g as (k, e, l, s, r), an array of the same kind."""


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


def is_graph(B: object) -> TypeGuard[Graph]:
    """Whether B has the methods of a `Graph`; asking the protocol itself is much slower."""
    return hasattr(B, "incidence") and hasattr(B, "multiply")


@dataclass(frozen=True)
class Reduced:
    """One tensor's part of g, summed over entries whose rows of B are equal."""

    sums: npt.NDArray[np.float64]
    """(k, e, l, 1, 1), positive; e or l is 1 where nothing is entered or left."""
    entered: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    multiplicity: int
    """Entries of g in each sum."""
    framework: Framework = field(default_factory=Framework)
    """The kind of array that the part was."""


Part = npt.NDArray[Any] | Reduced
"""A tensor's part of g: an array, of another framework where it is on a device, or sums."""


class WholeNeededError(InvalidInputError):
    """g in parts does not do: B itself has to be formed."""


def reduced(panel: Panel, part: npt.NDArray[Any], *, ordered: bool = False) -> Reduced | None:
    """The sums over a part of g; None if there are none, or an entry is not positive.

    With `ordered`, a part in which no rows are equal is laid out as the solver reads it in place,
    in its own dtype.
    """
    view = panel.view(part)
    sides = [
        ids[:, :1] if len(ids) == 1 and ids.max(initial=-1) < 0 else ids
        for ids in (panel.entered, panel.left)
    ]
    enters, leaves = (ids.shape[1] for ids in sides)
    if view.size == 0:
        return None
    if view.shape == (len(view), enters, leaves, 1, 1):
        if not ordered or not view.min() > 0:
            return None
        return Reduced(np.ascontiguousarray(view), sides[0], sides[1], 1)
    sums = _core.reduce(view, enters < view.shape[1], leaves < view.shape[2])
    if sums is None:
        return None
    return Reduced(sums, sides[0], sides[1], view.size // sums.size)


def read_parts(graph: Graph, g: Any) -> tuple[list[Part], Framework]:
    """g per panel: views of one array, the arrays of a list, or sums over those of an iterator."""
    rows = graph.shape[0]
    if isinstance(g, Iterator):
        return _read_tensors(graph, g, reduce=True)
    # A list of NumPy scalars is one array; a list of arrays may hold parameters of shape ().
    tensors = g if isinstance(g, (list, tuple)) else ()
    shapes = [_shape(x) for x in tensors]
    if None not in shapes and any(shapes):
        return _read_tensors(graph, g, reduce=False)
    whole, framework = read_on_device(g) if on_device(g) else read_weights(g)
    if len(whole) != rows:
        raise InvalidInputError(
            f"g: expected one entry per parameter of the graph, which has {rows}, got {len(whole)}"
        )
    rows_of = [slice(None)] if graph.panels is None else [part for part, _ in graph.panels]
    return [whole[part] for part in rows_of], framework


def _shape(part: Any) -> Any:
    """Of an array or sums; None for what is neither."""
    if isinstance(part, Reduced):
        return part.sums.shape
    if not hasattr(part, "shape") and hasattr(part, "__dlpack__"):
        return to_numpy(part, "g", "arrays").shape
    return getattr(part, "shape", None)


def _read_tensors(graph: Graph, g: Iterable[Any], *, reduce: bool) -> tuple[list[Part], Framework]:
    """g tensor by tensor; none is kept that can be reduced."""
    panels, parts, sizes, framework = graph.panels, list[Part](), list[int](), Framework()
    expected = [part.stop - part.start for part, _ in panels or ()]
    for i, tensor in enumerate(g):
        if isinstance(tensor, Reduced):
            parts.append(tensor)
            sizes.append(tensor.sums.size * tensor.multiplicity)
            framework = tensor.framework
            continue
        if not (hasattr(tensor, "__array__") or hasattr(tensor, "__dlpack__")):
            raise InvalidInputError(f"g[{i}]: expected an array, got {type(tensor).__name__}")
        array: Any
        if on_device(tensor):
            flat = tensor if getattr(tensor, "is_sparse", False) else tensor.reshape(-1)
            array, framework = read_on_device(flat, f"g[{i}]")
        else:
            array, framework = read_weights(tensor, f"g[{i}]", flat=True)
        sizes.append(len(array))
        fits = panels is not None and sizes == expected[: i + 1]
        reduce_it = reduce and fits and not on_device(array)
        reduction = reduced(panels[i][1], array) if reduce_it and panels else None
        if reduction is not None:
            parts.append(reduction)
        elif reduce:  # the array's owner may reuse it, and sums are float64
            parts.append(copied(array) if on_device(array) else array.astype(np.float64))
        else:
            parts.append(array)
    if sizes != expected and (panels is not None or sum(sizes) != graph.shape[0]):
        raise InvalidInputError(
            f"g: expected {len(expected)} arrays, one per tensor of the graph with an entry for "
            f"each of its {graph.shape[0]} parameters, got {len(sizes)} with {sum(sizes)} entries "
            "in all"
        )
    if any(map(on_device, parts)):
        return alike(parts), framework
    dtype = np.result_type(np.float32, *(x.sums if isinstance(x, Reduced) else x for x in parts))
    return [x if isinstance(x, Reduced) else x.astype(dtype, copy=False) for x in parts], framework


def whole(parts: Sequence[Part]) -> npt.NDArray[Any]:
    """g in one array on the host.

    Raises:
        WholeNeededError: parts of it are known as sums only.
        InvalidInputError: an entry is negative or not finite; only checked if there are sums.
    """
    parts = [read_weights(x)[0] if on_device(x) else x for x in parts]
    arrays = [x for x in parts if not isinstance(x, Reduced)]
    if len(arrays) == len(parts):
        return arrays[0] if len(arrays) == 1 else np.concatenate([*arrays, np.empty(0, np.float32)])
    for i, x in enumerate(parts):
        if not isinstance(x, Reduced) and not ((x >= 0) & (x <= np.finfo(x.dtype).max)).all():
            raise InvalidInputError(f"g[{i}]: entries must be finite and non-negative")
    raise WholeNeededError(
        "g: this problem needs all of g at once (a layer that writes to what it reads, or entries "
        "too small, or too far apart, for sums); pass a list of arrays, not an iterator"
    )


def solve_graph(
    graph: Graph, parts: Sequence[Part], options: dict[str, Any]
) -> _core.Solution | None:
    """The solution without forming B; None where that cannot be."""
    if graph.panels is None:
        return None
    if parts and all(map(on_device, parts)):
        there = [
            (panel.view(part), panel.entered, panel.left)
            for part, (_, panel) in zip(parts, graph.panels, strict=True)
        ]
        if (solution := solve_on_device(graph.shape[1], there, options)) is not None:
            return solution
        parts = [read_weights(part)[0] for part in parts]
    views = [
        (part.sums, part.entered, part.left, part.multiplicity)
        if isinstance(part, Reduced)
        else (panel.view(part), panel.entered, panel.left, 1)
        for part, (_, panel) in zip(parts, graph.panels, strict=True)
    ]
    return _core.solve_panels(graph.shape[1], views, **options)
