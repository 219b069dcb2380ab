"""Problems of any size and depth, built as tensors; no model and no B unless asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array, csr_array

from pathcond_native.engine.panels import Panel, panel

__all__ = ["Tensor", "Tensors", "chain", "conditioned", "depthwise", "stream"]

Neurons = npt.NDArray[np.int32]
NONE: Neurons = np.full(1, -1, np.int32)


@dataclass(frozen=True)
class Tensor:
    """A weight; what its entries enter and leave broadcasts to its shape."""

    shape: tuple[int, ...]
    entered: Neurons
    left: Neurons

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape))


class Tensors:
    """What `solve` takes in place of B."""

    def __init__(self, tensors: Sequence[Tensor], neurons: int) -> None:
        self.tensors = tuple(tensors)
        self.shape = (sum(t.size for t in tensors), neurons)

    @cached_property
    def panels(self) -> list[tuple[slice, Panel]]:
        """Rows and panel of every tensor."""
        found, start = [], 0
        for t in self.tensors:
            found.append((slice(start, start + t.size), panel(t.shape, t.entered, t.left)))
            start += t.size
        return found

    def incidence(self) -> csc_array:
        """B, int8."""
        rows, columns, signs, start = [], [], [], 0
        for t in self.tensors:
            for side, sign in ((t.entered, -1), (t.left, 1)):
                ids = np.broadcast_to(side, t.shape).reshape(-1)
                at = np.flatnonzero(ids >= 0)
                rows.append(start + at)
                columns.append(ids[at])
                signs.append(np.full(len(at), sign, np.int8))
            start += t.size
        entries = (np.concatenate(rows), np.concatenate(columns))
        B = csr_array((np.concatenate(signs), entries), shape=self.shape)
        return B.tocsc().astype(np.int8)

    def multiply(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """B u."""
        product: npt.NDArray[np.float64] = self.incidence() @ u
        return product


def _layers(widths: Sequence[int]) -> list[Neurons]:
    bounds = np.cumsum([0, *widths])
    return [np.arange(a, b, dtype=np.int32) for a, b in pairwise(bounds)]


def _matrix(entered: Neurons, left: Neurons, out: int, inputs: int) -> Tensor:
    return Tensor((out, inputs), entered.reshape(-1, 1), left.reshape(1, -1))


def chain(width: int, depth: int, inputs: int | None = None) -> Tensors:
    """`depth` linear layers; the first reads `inputs`, the last writes as many."""
    ends = width if inputs is None else inputs
    layers = _layers([width] * (depth - 1))
    tensors = [_matrix(layers[0], NONE, width, ends)]
    for a, b in pairwise(layers):
        tensors.append(_matrix(b, a, width, width))
    tensors.append(_matrix(NONE, layers[-1], ends, width))
    return Tensors(tensors, width * (depth - 1))


def depthwise(channels: int, blocks: int) -> Tensors:
    """1x1 and depthwise 3x3 convolutions by turns: every channel is a group of its own."""
    layers = _layers([channels] * (2 * blocks))
    tensors = [_matrix(layers[0], NONE, channels, 3)]
    for k, (a, b) in enumerate(pairwise(layers)):
        if k % 2 == 0:
            tensors.append(Tensor((channels, 1, 9), b.reshape(-1, 1, 1), a.reshape(-1, 1, 1)))
        else:
            tensors.append(_matrix(b, a, channels, channels))
    tensors.append(_matrix(NONE, layers[-1], 10, channels))
    return Tensors(tensors, 2 * blocks * channels)


def stream(width: int, inner: int, blocks: int) -> Tensors:
    """Residual blocks that read and write one stream, as in normaliser-free networks."""
    layers = _layers([width] + [inner] * blocks)
    tensors = [_matrix(layers[0], NONE, width, 8)]
    for hidden in layers[1:]:
        tensors.append(_matrix(hidden, layers[0], inner, width))
        tensors.append(_matrix(layers[0], hidden, width, inner))
    tensors.append(_matrix(NONE, layers[0], 8, width))
    return Tensors(tensors, width + inner * blocks)


def conditioned(graph: Tensors, decades: float, seed: int) -> npt.NDArray[np.float64]:
    """g log-uniform over so many decades, entry by entry."""
    generator = np.random.default_rng(seed)
    return np.asarray(10.0 ** generator.uniform(-decades / 2, decades / 2, graph.shape[0]))


def positive(entries: int, dtype: Any, seed: int = 0) -> npt.NDArray[Any]:
    """Squares of normal numbers, as squared weights are, piece by piece."""
    generator = np.random.default_rng(seed)
    g = np.empty(entries, dtype)
    for start in range(0, entries, 1 << 24):
        part = generator.standard_normal(min(1 << 24, entries - start), dtype=np.float32)
        g[start : start + len(part)] = part * part + np.float32(1e-3)
    return g
