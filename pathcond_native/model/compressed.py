"""Broadcast-compressed tensors: an axis along which all entries agree is stored with size 1.

Scale ids and lifted values both come in this form, so that one function moves either of them.
A tensor's full ("logical") shape is known from the trace; the stored one has the same rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..engine.shapes import reshaped

__all__ = ["along", "concatenate", "expand", "lead", "reshape"]


def expand(x: Tensor, shape: Sequence[int], axes: Iterable[int]) -> Tensor:
    """Store the given axes in full."""
    sizes = list(x.shape)
    for axis in axes:
        sizes[axis] = shape[axis]
    return x.expand(sizes)


def lead(x: Tensor, rank: int) -> Tensor:
    """Prepend axes of size 1 up to the given rank, as broadcasting does."""
    return x.reshape((1,) * (rank - x.dim()) + tuple(x.shape))


def along(vector: Tensor, axis: int, rank: int) -> Tensor:
    """A vector laid along one axis of a tensor of the given rank."""
    return vector.reshape([-1 if a == axis else 1 for a in range(rank)])


def reshape(x: Tensor, shape: Sequence[int], new_shape: Sequence[int]) -> Tensor:
    """View logical `shape` as `new_shape`, expanding only axes that mix with a stored one."""
    full, stored = reshaped(x.shape, shape, new_shape)
    return x.expand(full).reshape(stored)


def concatenate(xs: Sequence[Tensor], shapes: Sequence[Sequence[int]], axis: int) -> Tensor:
    """Join along one axis; other axes stay compressed where all parts are."""
    common = [max(sizes) for sizes in zip(*(x.shape for x in xs), strict=True)]
    parts = []
    for x, shape in zip(xs, shapes, strict=True):
        sizes = list(common)
        sizes[axis] = shape[axis]
        parts.append(x.expand(sizes))
    return torch.cat(parts, axis)
