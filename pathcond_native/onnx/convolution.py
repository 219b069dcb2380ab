"""Convolution of any rank, and its two adjoints, as one matrix product per tap of the kernel.

The memory needed beyond operands and result is one tap's slice of the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .tape import Array

__all__ = ["Geometry"]

_ALL = (slice(None), slice(None))


@dataclass(frozen=True)
class Geometry:
    """How windows lie: per spatial axis, with `before` and `after` zeros of padding.

    x has the shape (N, groups · c, *sizes), w (groups · o, c, *kernel), y (N, groups · o, *out).
    """

    groups: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def forward(self, x: Array, w: Array, out: tuple[int, ...]) -> Array:
        """y = w * x."""
        padded = self._padded(x)
        y = np.zeros((len(x), self.groups, w.shape[0] // self.groups, math.prod(out)))
        for tap, window in self._taps(out):
            y += self._matrix(w, tap) @ self._columns(padded[_ALL + window])
        return y.reshape(len(x), w.shape[0], *out)

    def to_input(self, y: Array, w: Array, sizes: tuple[int, ...]) -> Array:
        """The adjoint in x: what a transposed convolution does to y."""
        out = y.shape[2:]
        padded_sizes = [b + n + a for b, n, a in zip(self.before, sizes, self.after, strict=True)]
        x = np.zeros((len(y), self.groups * w.shape[1], *padded_sizes))
        rows = self._columns(y)
        for tap, window in self._taps(out):
            part = self._matrix(w, tap).transpose(0, 2, 1) @ rows
            x[_ALL + window] += part.reshape(len(y), -1, *out)
        inside = tuple(slice(b, b + n) for b, n in zip(self.before, sizes, strict=True))
        return x[_ALL + inside]

    def to_weight(self, x: Array, y: Array) -> Array:
        """The adjoint in w."""
        out = y.shape[2:]
        padded, rows = self._padded(x), self._columns(y)
        w = np.empty((y.shape[1], x.shape[1] // self.groups, *self.kernel))
        for tap, window in self._taps(out):
            columns = self._columns(padded[_ALL + window])
            part = (rows @ columns.transpose(0, 1, 3, 2)).sum(0)
            w[_ALL + tap] = part.reshape(w.shape[:2])
        return w

    def _padded(self, x: Array) -> Array:
        amounts = list(zip(self.before, self.after, strict=True))
        return np.pad(x, [(0, 0), (0, 0), *amounts]) if any(map(any, amounts)) else x

    def _taps(self, out: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Entries of the kernel, each with what it sees of a padded input."""
        for tap in np.ndindex(*self.kernel):
            starts = [d * t for d, t in zip(self.dilations, tap, strict=True)]
            yield (
                tap,
                tuple(
                    slice(start, start + s * (n - 1) + 1, s)
                    for start, s, n in zip(starts, self.strides, out, strict=True)
                ),
            )

    def _columns(self, x: Array) -> Array:
        """(N, groups, channels of a group, positions)."""
        return x.reshape(len(x), self.groups, x.shape[1] // self.groups, -1)

    def _matrix(self, w: Array, tap: tuple[int, ...]) -> Array:
        """(groups, o, c)"""
        return np.ascontiguousarray(w[_ALL + tap]).reshape(self.groups, -1, w.shape[1])
