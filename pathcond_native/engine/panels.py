"""diag(G) tensor by tensor: each parameter's part of g as an array over what it connects.

All entries of a weight that enter one channel and leave another have the same row of B. So the
solver needs no B: a part of g, seen as an array over (k, e, l, s, r) whose entry enters neuron
entered[k, e] and leaves neuron left[k, l], is summed where it lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Panel", "panel"]

Neurons = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Panel:
    """How to see one parameter's part of g; neurons are int32, -1 stands for none."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    sizes: tuple[int, ...]
    entered: Neurons
    """(k, e)"""
    left: Neurons
    """(k, l)"""

    def view(self, part: Any) -> Any:
        """The part of g, shape (size,), as (k, e, l, s, r): a view where memory allows one.

        NumPy, torch or CuPy.
        """
        part = part.reshape(self.shape)
        moved = part.permute if hasattr(part, "permute") else part.transpose
        return moved(self.order).reshape(self.sizes)


def panel(shape: tuple[int, ...], entered: Neurons, left: Neurons) -> Panel:
    """Sort the axes of a parameter by what varies along them.

    Args:
        shape: of the parameter.
        entered, left: neurons of every entry, broadcasting to the shape.
    """
    rank = len(shape)
    sides = [x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (entered, left)]
    sides = [np.full((1,) * rank, -1, np.int32) if x.max(initial=-1) < 0 else x for x in sides]
    for axis in reversed(range(rank)):
        shape, sides = _split(shape, sides, axis)
    rank = len(shape)
    axes: dict[tuple[bool, bool], list[int]] = {}
    for axis in range(rank):
        kind = sides[0].shape[axis] > 1, sides[1].shape[axis] > 1
        axes.setdefault(kind, []).append(axis)
    both, enters, leaves, rest = (
        axes.get(kind, []) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    order = (*both, *enters, *leaves, *rest)

    def laid(side: Neurons, own: list[int]) -> Neurons:
        ids = side.transpose(order).reshape(math.prod(shape[a] for a in both), -1)
        assert ids.shape[1] == math.prod(shape[a] for a in own)
        return np.ascontiguousarray(ids, dtype=np.int32)

    # The last axes that follow each other in memory, such as the taps of a kernel, act as one.
    last = next((i for i, a in enumerate(rest) if rest[i:] == list(range(a, a + len(rest) - i))), 0)
    parts = (both, enters, leaves, rest[:last], rest[last:])
    sizes = tuple(math.prod(shape[a] for a in part) for part in parts)
    return Panel(shape, order, sizes, laid(sides[0], enters), laid(sides[1], leaves))


def _split(
    shape: tuple[int, ...], sides: list[Neurons], axis: int
) -> tuple[tuple[int, ...], list[Neurons]]:
    """An axis along which neurons come in runs, as flattened positions do, becomes two."""
    n = shape[axis]
    varying = [side for side in sides if side.shape[axis] > 1]
    if len(varying) != 1:
        return shape, sides
    changes = np.flatnonzero(np.diff(varying[0], axis=axis).any(_others(axis, len(shape)))) + 1
    run = math.gcd(n, *changes.tolist())
    if run == 1:
        return shape, sides

    def cut(sizes: tuple[int, ...], first: int, second: int) -> tuple[int, ...]:
        return (*sizes[:axis], first, second, *sizes[axis + 1 :])

    return cut(shape, n // run, run), [
        np.expand_dims(side, axis + 1)
        if side.shape[axis] == 1
        else side.take(range(0, n, run), axis).reshape(cut(side.shape, n // run, 1))
        for side in sides
    ]


def _others(axis: int, rank: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)
