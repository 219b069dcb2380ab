"""Sparse matrices of jax.experimental.sparse, entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.errors import InvalidInputError
from pathcond_native.frameworks import to_numpy

__all__ = ["coordinates"]

Array = npt.NDArray[Any]


def coordinates(B: Any) -> tuple[Array, Array, Array]:
    """Rows, columns and values of a BCOO or BCSR matrix B, without its padding.

    Raises:
        InvalidInputError: B is of another format, has batch or dense dimensions, or is corrupted.
    """
    kind = type(B).__name__
    if kind not in ("BCOO", "BCSR"):
        raise InvalidInputError(f"B: expected a BCOO or BCSR matrix of JAX, got {kind}")
    values, indices = (to_numpy(x, "B", "numbers") for x in (B.data, B.indices))
    if len(B.shape) != 2 or values.ndim != 1 or indices.ndim != (2 if kind == "BCOO" else 1):
        raise InvalidInputError(
            f"B: expected a {kind} matrix without batch and dense dimensions, got shape {B.shape}, "
            f"data {values.shape} and indices {indices.shape}"
        )
    if len(indices) != len(values):
        raise InvalidInputError(
            f"B: expected as many indices as data, got {len(indices)} and {len(values)}"
        )
    if kind == "BCOO":
        row, column = indices.T
    else:
        row = _rows(to_numpy(B.indptr, "B", "numbers"), B.shape[0], len(indices))
        column, values = indices[: len(row)], values[: len(row)]
    kept = (row != B.shape[0]) | (column != B.shape[1])  # padding lies just outside
    row, column, values = row[kept], column[kept], values[kept]
    for index, size, what in ((row, B.shape[0], "row"), (column, B.shape[1], "column")):
        if len(index) and not 0 <= index.min() <= index.max() < size:
            raise InvalidInputError(
                f"B: {what} indices must lie in [0, {size}), got {index.min()} to {index.max()}"
            )
    return row, column, values


def _rows(ends: Array, rows: int, entries: int) -> Array:
    """The row of every entry of compressed rows."""
    sizes = np.diff(ends)
    if ends.shape != (rows + 1,) or ends[0] != 0 or (sizes < 0).any() or ends[-1] > entries:
        raise InvalidInputError(
            f"B: indptr must rise from 0 to at most {entries} in {rows + 1} entries, got {ends}"
        )
    return np.repeat(np.arange(rows), sizes)
