"""Broadcast-compressed shapes: an axis along which all entries agree is stored with size 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["common_shape", "expanded", "lead", "reshaped"]


def lead(x: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    """Prepend axes of size 1 up to the given rank, as broadcasting does."""
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def expanded(x: npt.NDArray[Any], shape: Sequence[int], axes: Iterable[int]) -> npt.NDArray[Any]:
    """The array with the given axes stored in full."""
    sizes = list(x.shape)
    for axis in axes:
        sizes[axis] = shape[axis]
    return np.broadcast_to(x, sizes)


def common_shape(tensors: Sequence[npt.NDArray[Any]]) -> list[int]:
    """What tensors of one rank broadcast to."""
    axes = zip(*(x.shape for x in tensors), strict=True)
    return [max(sizes) if min(sizes) else 0 for sizes in axes]


def reshaped(
    held: Sequence[int], shape: Sequence[int], new_shape: Sequence[int]
) -> tuple[list[int], list[int]]:
    """How to view logical `shape`, stored as `held`, as `new_shape`.

    Both shapes are cut into the smallest runs of axes with equal products; a run that is
    constant stays compressed.

    Returns:
        The shape to expand to, where axes mix with a stored one, and the shape to give that.
    """
    full: list[int] = []
    stored: list[int] = []
    i = j = 0
    while i < len(shape) or j < len(new_shape):
        start, new_start, size, new_size = i, j, 1, 1
        while (i, j) == (start, new_start) or size != new_size:
            if i < len(shape) and size <= new_size:
                size *= shape[i]
                i += 1
            else:
                new_size *= new_shape[j]
                j += 1
        constant = all(s == 1 for s in held[start:i])
        full += [1] * (i - start) if constant else shape[start:i]
        stored += [1] * (j - new_start) if constant else new_shape[new_start:j]
    return full, stored
