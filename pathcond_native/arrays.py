"""B and g, as any package has them, as NumPy arrays for the core."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.errors import InvalidInputError
from pathcond_native.frameworks import (
    Framework,
    framework_of,
    is_cupy,
    is_jax_sparse,
    is_torch,
    to_numpy,
    torch_to_numpy,
)
from pathcond_native.jax_sparse import coordinates

__all__ = ["VALUE_DTYPES", "Incidence", "read_incidence", "read_weights"]

VALUE_DTYPES = (np.int8, np.int32, np.int64, np.float32, np.float64)


@dataclass(frozen=True)
class Incidence:
    """B (p, H) in compressed sparse columns; where possible views of the caller's arrays."""

    rows: int
    indptr: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    values: npt.NDArray[Any]

    @property
    def columns(self) -> int:
        """H."""
        return len(self.indptr) - 1

    def canonical(self) -> Incidence:
        """A copy with sorted rows in every column, repeated entries added up."""
        column = np.repeat(np.arange(self.columns), np.diff(self.indptr))
        rows, values = self.indices[: len(column)], self.values[: len(column)]
        order = np.lexsort((rows, column))
        column, rows, values = column[order], rows[order], values[order]
        first = np.ones(len(column), dtype=bool)
        first[1:] = (column[1:] != column[:-1]) | (rows[1:] != rows[:-1])
        if values.dtype.kind == "i":  # sums of small integers may need more bits
            values = values.astype(np.int64)
        sums = np.add.reduceat(values, np.flatnonzero(first)) if len(values) else values
        return _from_columns(self.rows, self.columns, column[first], rows[first], sums)

    def multiply(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """B u, float64 (p,)."""
        v = np.zeros(self.rows)
        for h, step in enumerate(u):
            entries = slice(self.indptr[h], self.indptr[h + 1])
            v[self.indices[entries]] += self.values[entries] * step
        return v


def _is_scipy_sparse(value: object) -> bool:
    issparse = getattr(sys.modules.get("scipy.sparse"), "issparse", None)
    return issparse is not None and issparse(value)


def _describe(value: object) -> str:
    shape = getattr(value, "shape", None)
    name = type(value).__name__
    return name if shape is None else f"{name} of shape {tuple(shape)}"


def _check_real(array: npt.NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(f"{name}: expected real numbers, got dtype {array.dtype}")


def read_weights(
    g: Any, name: str = "g", *, flat: bool = False
) -> tuple[npt.NDArray[Any], Framework]:
    """One-dimensional real data as float32 or float64 NumPy array, and what it came as.

    With `flat`, data of any shape, in row-major order.
    """
    array = to_numpy(g, name, "a 1-D array of numbers")
    _check_real(array, name)
    if flat:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise InvalidInputError(f"{name}: expected a 1-D array, got shape {array.shape}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return np.ascontiguousarray(array), framework_of(g)


def read_incidence(B: Any, rows: int) -> Incidence:
    """B (p, H) from any of the forms that `solve` documents; `rows` is the length of g."""
    if isinstance(B, Incidence):
        return B
    if is_cupy(B):
        B = B.get()
    if isinstance(B, tuple | list) and _is_pair(B):
        return _from_lists(B[0], B[1], rows)
    if is_torch(B):
        incidence = _from_torch(B)
    elif _is_scipy_sparse(B):
        incidence = _from_scipy(B)
    elif is_jax_sparse(B):
        row, column, values = coordinates(B)
        order = np.lexsort((row, column))
        incidence = _from_columns(B.shape[0], B.shape[1], column[order], row[order], values[order])
    else:
        incidence = _from_dense(B)
    if incidence.rows != rows:
        raise InvalidInputError(
            f"g: expected one entry per row of B, which has {incidence.rows}, got {rows}"
        )
    return incidence


def _is_pair(B: Sequence[Any]) -> bool:
    """(leaving, entering): two sequences of index lists. A nested list of numbers is a matrix."""
    return len(B) == 2 and all(
        isinstance(part, tuple | list) and not any(np.isscalar(item) for item in part) for part in B
    )


def _from_lists(leaving: Sequence[Any], entering: Sequence[Any], rows: int) -> Incidence:
    if len(leaving) != len(entering):
        raise InvalidInputError(
            "B: expected (leaving, entering) with one index list per neuron in each, got "
            f"{len(leaving)} and {len(entering)} lists"
        )
    parts = []
    for name, lists, sign in (("leaving", leaving, 1), ("entering", entering, -1)):
        arrays = [_index_list(item, name, h, rows) for h, item in enumerate(lists)]
        lengths = [len(array) for array in arrays]
        indices = np.concatenate([*arrays, np.empty(0, np.int64)])
        neurons = np.repeat(np.arange(len(arrays)), lengths)
        parts.append((neurons, indices, np.full(len(indices), sign, np.int8)))
    column, index, values = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    order = np.lexsort((index, column))
    column, index, values = column[order], index[order], values[order]
    repeated = (column[1:] == column[:-1]) & (index[1:] == index[:-1])
    if repeated.any():
        at = int(np.flatnonzero(repeated)[0])
        raise InvalidInputError(
            f"B: row {index[at]} is listed twice for neuron {column[at]}; every row may leave or "
            "enter a neuron once"
        )
    return _from_columns(rows, len(leaving), column, index, values)


def _index_list(item: Any, name: str, neuron: int, rows: int) -> npt.NDArray[np.int64]:
    where = f"B: {name}[{neuron}]"
    array = to_numpy(item, where, "a 1-D list of row indices")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{where}: expected a 1-D list of row indices, got {array.dtype} {array.shape}"
        )
    if array.min() < 0 or array.max() >= rows:
        raise InvalidInputError(
            f"{where}: row indices must lie in [0, {rows}), got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def _from_columns(
    rows: int,
    columns: int,
    column: npt.NDArray[Any],
    index: npt.NDArray[Any],
    values: npt.NDArray[Any],
) -> Incidence:
    """From coordinates sorted by column, then row."""
    indptr = np.zeros(columns + 1, np.int64)
    np.cumsum(np.bincount(column, minlength=columns), out=indptr[1:])
    return _compressed((rows, columns), indptr, index, values)


def _compressed(shape: tuple[int, int], indptr: Any, indices: Any, values: Any) -> Incidence:
    """Compressed columns of a (p, H) matrix, in types that the core reads in place."""
    indptr, indices, values = np.asarray(indptr), np.asarray(indices), np.asarray(values)
    _check_real(values, "B")
    for name, array in (("indptr", indptr), ("indices", indices), ("data", values)):
        if array.ndim != 1:
            raise InvalidInputError(f"B: {name} must be 1-D, got shape {array.shape}")
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu":
            raise InvalidInputError(f"B: {name} must hold integers, got dtype {array.dtype}")
    if len(indptr) != shape[1] + 1:
        raise InvalidInputError(
            f"B: indptr must have one entry more than columns, of which there are {shape[1]}, "
            f"got {len(indptr)}"
        )
    if values.dtype not in VALUE_DTYPES:
        values = values.astype(np.int8 if values.dtype.kind == "b" else np.float64)
    index_type = np.int32 if indptr.dtype == np.int32 and indices.dtype == np.int32 else np.int64
    return Incidence(
        shape[0],
        np.ascontiguousarray(indptr, index_type),
        np.ascontiguousarray(indices, index_type),
        np.ascontiguousarray(values),
    )


def _from_scipy(B: Any) -> Incidence:
    if B.ndim != 2:
        raise InvalidInputError(f"B: expected a matrix (p, H), got {_describe(B)}")
    _check_real(np.empty(0, B.dtype), "B")
    if B.format != "csc":
        B = _to_csc(B)
    return _compressed(B.shape, B.indptr, B.indices, B.data)


def _to_csc(B: Any) -> Any:
    """SciPy's conversion, which trusts indices, after a look at them."""
    try:
        if B.format in ("csr", "bsr"):
            B = type(B)((B.data, B.indices, B.indptr), shape=B.shape)
            B.check_format(full_check=True)
        elif B.format == "coo":
            B = type(B)((B.data, (B.row, B.col)), shape=B.shape)
        return B.tocsc()
    except (ValueError, IndexError, TypeError) as error:
        raise InvalidInputError(f"B: corrupted {B.format} matrix: {error}") from error


def _from_torch(B: Any) -> Incidence:
    torch = import_module("torch")
    if B.ndim != 2:
        raise InvalidInputError(f"B: expected a matrix (p, H), got {_describe(B)}")
    if B.device.type == "meta":
        raise InvalidInputError("B: expected a tensor with values, got one on 'meta'")
    if B.layout == torch.strided:
        return _from_dense(torch_to_numpy(B))
    if B.dense_dim() != 0:
        raise InvalidInputError("B: expected a sparse matrix, got a hybrid of sparse and dense")
    B = B.detach()
    if B.layout == torch.sparse_csc:
        parts = (B.ccol_indices(), B.row_indices(), B.values())
        return _compressed(tuple(B.shape), *map(torch_to_numpy, parts))
    coo = (B if B.layout == torch.sparse_coo else B.to_sparse_coo()).coalesce().cpu()
    row, column = coo.indices().numpy()
    values = torch_to_numpy(coo.values())
    order = np.lexsort((row, column))
    return _from_columns(B.shape[0], B.shape[1], column[order], row[order], values[order])


def _from_dense(B: Any) -> Incidence:
    array = to_numpy(B, "B", "a matrix (p, H)")
    _check_real(array, "B")
    if array.ndim != 2:
        raise InvalidInputError(
            "B: expected a sparse matrix, a 2-D array or a pair (leaving, entering) of index "
            f"lists per neuron, got {_describe(B)}"
        )
    column, index = np.nonzero(array.T)
    return _from_columns(array.shape[0], array.shape[1], column, index, array[index, column])
