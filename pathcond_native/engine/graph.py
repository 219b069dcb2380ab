"""`RescalingGraph`: what tracing a model yields, and the incidence matrix B."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .groups import Partition, Pinned, Unsupported
from .panels import Panel, panel
from .program import ParameterInfo, Program

if TYPE_CHECKING:
    from scipy.sparse import csc_array

__all__ = ["Group", "Neuron", "RescalingGraph"]


@dataclass(frozen=True)
class Neuron:
    """One column of B: the channel of the layer that first produces it."""

    layer: str
    channel: int

    @property
    def name(self) -> str:
        """Such as ``features.0[3]``."""
        return f"{self.layer}[{self.channel}]"


@dataclass(frozen=True)
class Group:
    """The neurons produced by one layer: columns ``start`` to ``start + size`` of B."""

    name: str
    start: int
    size: int


class RescalingGraph:
    """The rescaling symmetry of one model, without its parameter values.

    It stays valid while parameters change, as long as the model's structure, shapes, weight sharing
    and the shapes of the inputs do not.

    Attributes:
        parameters: name, shape and first row of every parameter, as ``model.parameters()`` yields.
        pinned: channels that are not rescaled, each with a reason.
        unsupported: operators that end paths, each with a reason.
        shape: (p, H), number of scalar parameters and of neurons.
        program, partition: the operators and the scale variables, as the package uses them.
    """

    def __init__(self, program: Program, partition: Partition) -> None:
        self.program: Any = program  # as its front end made it
        self.partition = partition
        self.parameters: tuple[ParameterInfo, ...] = program.parameters
        self.pinned: tuple[Pinned, ...] = partition.pinned
        self.unsupported: tuple[Unsupported, ...] = partition.unsupported
        self.shape: tuple[int, int] = (program.p, len(partition.layer_of))

    @cached_property
    def neurons(self) -> tuple[Neuron, ...]:
        """One entry per column of B, from input to output; length H."""
        p = self.partition
        return tuple(
            Neuron(p.layers[layer], int(channel))
            for layer, channel in zip(p.layer_of, p.channel_of, strict=True)
        )

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Neurons by the layer that first produces them, in order; they cover all columns."""
        layer_of = self.partition.layer_of
        starts = np.flatnonzero(np.diff(layer_of, prepend=-1))
        sizes = np.diff(starts, append=len(layer_of))
        return tuple(
            Group(self.partition.layers[layer_of[start]], int(start), int(size))
            for start, size in zip(starts, sizes, strict=True)
        )

    def incidence(self) -> csc_array:
        """The matrix B of arXiv 2602.19799, with +1 where a parameter leaves a neuron.

        Returns:
            SciPy CSC array of int8, shape (p, H), canonical; indices are int32 where they fit,
            int64 otherwise. Rows follow ``model.parameters()``, flattened and concatenated. An
            entry is +1 where the parameter consumes the neuron, -1 where it produces it (biases
            included); a parameter that does both to one neuron has no entry there. Products of
            channels and weights with several uses yield rows with other small integers and more
            entries: what consumes h * h has +2 at h.
        """
        from scipy.sparse import csr_array

        p, H = self.shape
        parts = [self._rows(i) for i in range(len(self.parameters))]
        nnz = sum(len(columns) for _, columns, _ in parts)
        index = np.int32 if max(p, nnz) <= np.iinfo(np.int32).max else np.int64
        indptr = np.zeros(p + 1, dtype=index)
        for parameter, (counts, _, _) in zip(self.parameters, parts, strict=True):
            rows = slice(parameter.offset + 1, parameter.offset + 1 + parameter.size)
            indptr[rows] = counts
        np.cumsum(indptr, out=indptr)
        indices = np.concatenate([np.zeros(0, np.int32), *(c for _, c, _ in parts)])
        data = np.concatenate([np.zeros(0, np.int8), *(s for _, _, s in parts)])
        B = csr_array((data, indices.astype(index, copy=False), indptr), shape=(p, H)).tocsc()
        B.has_canonical_format = True
        return B

    def columns(self, parameter: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None:
        """What a parameter enters and leaves, or None if it has no entry in B.

        Both arrays broadcast to the parameter's shape and index `extended(u)`: a number below H is
        a neuron, -1 the scale 1, any other an integer combination of neurons.
        """
        use = self.partition.uses[parameter]
        if use is None:
            return None
        column_of = self.partition.column_of
        entered, left = column_of[use.emitted], column_of[use.consumed]
        return (entered, left) if max(entered.max(), left.max()) >= 0 else None

    @cached_property
    def panels(self) -> tuple[tuple[slice, Panel], ...] | None:
        """Per parameter its rows of B and how to sum g over them; None if products occur in B."""
        found = []
        none = np.full(1, -1, dtype=np.int32)
        for number, info in enumerate(self.parameters):
            entered, left = self.columns(number) or (none, none)
            if max(entered.max(), left.max()) >= self.shape[1]:
                return None
            rows = slice(info.offset, info.offset + info.size)
            found.append((rows, panel(info.shape or (1,), entered, left)))
        return tuple(found)

    def multiply(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """B u, float64 (p,)."""
        u, v = self.extended(u), np.zeros(self.shape[0])
        for number, info in enumerate(self.parameters):
            if (columns := self.columns(number)) is not None:
                part = v[info.offset : info.offset + info.size].reshape(info.shape)
                part += u[columns[1]] - u[columns[0]]
        return v

    def extended(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """u (H), then its integer combinations, then 0: what `columns` refers to."""
        return np.concatenate([u, self.partition.sums @ u, [0.0]])

    def _rows(
        self, parameter: int
    ) -> tuple[npt.NDArray[np.integer] | int, npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        """Non-zeros per row of one parameter, then their columns and values in row order."""
        info, sides = self.parameters[parameter], self.columns(parameter)
        if sides is None:
            return 0, np.zeros(0, np.int32), np.zeros(0, np.int8)
        if max(side.max() for side in sides) >= self.shape[1]:
            return self._combined_rows(info, sides)
        held = [(side, sign) for side, sign in zip(sides, (-1, 1), strict=True) if side.max() >= 0]
        columns = np.empty((*info.shape, len(held)), dtype=np.int32)
        for k, (side, _) in enumerate(held):
            columns[..., k] = side
        columns = columns.reshape(info.size, len(held))
        signs = np.broadcast_to(np.array([sign for _, sign in held], dtype=np.int8), columns.shape)
        a, b = held[0][0], held[-1][0]
        disjoint = len(held) == 1 or a.max() < b.min() or b.max() < a.min()
        if disjoint and min(a.min(), b.min()) >= 0:
            return len(held), columns.reshape(-1), signs.reshape(-1)
        present = columns >= 0
        if len(held) == 2:
            present &= (columns[:, 0] != columns[:, 1])[:, None]
        return present.sum(axis=1, dtype=np.uint8), columns[present], signs[present]

    def _combined_rows(
        self, info: ParameterInfo, sides: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    ) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        """As `_rows`, for entries that enter or leave combinations of neurons."""
        from scipy.sparse import csr_array, vstack

        H, sums = self.shape[1], self.partition.sums
        codes = [np.broadcast_to(side, info.shape).reshape(-1) for side in sides]
        none = H + sums.shape[0]
        neuron = np.arange(H)
        alone = csr_array((np.ones(H, np.int64), (neuron, neuron)), shape=(H, H))
        forms = csr_array(vstack([alone, sums, csr_array((1, H), dtype=np.int64)]))
        entered, left = (forms[np.where(code < 0, none, code)] for code in codes)
        rows = csr_array(left - entered)
        rows.eliminate_zeros()
        rows.sort_indices()
        return np.diff(rows.indptr), rows.indices.astype(np.int32), rows.data.astype(np.int8)

    def __repr__(self) -> str:
        p, H = self.shape
        return (
            f"RescalingGraph(parameters={p}, neurons={H}, layers={len(self.groups)}, "
            f"pinned={sum(x.channels for x in self.pinned)}, unsupported={len(self.unsupported)})"
        )
