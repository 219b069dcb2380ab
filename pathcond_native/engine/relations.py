"""Homogeneous integer equations between scale variables, solved by elimination.

All equations of one shape (one per channel) are eliminated together, as rows of sparse matrices.
Pivots are ±1, so that every variable is an integer combination of the free ones; where no such
pivot is left the variables of an equation are set to 0, which keeps the solution valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

__all__ = ["Solution", "eliminate"]

_LARGEST = 50  # a row of B is a difference of two combinations and must fit int8
_LARGEST_ON_THE_WAY = 10**6
_MOST_ROUNDS = 2000

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """x = combination @ x for every x that solves the equations, in terms of free variables.

    `zero_because[i]` is the number of an equation that forces variable i to 0, or -1.
    """

    combination: csr_array
    zero_because: Integers


def eliminate(equations: csr_array, priority: Integers) -> Solution:
    """Solve equations @ x = 0; among equal choices variables of high priority are eliminated."""
    n = equations.shape[1]
    R, origin = equations.copy(), np.arange(equations.shape[0])
    zero_because = np.full(n, -1, dtype=np.int64)
    done: list[tuple[Integers, csr_array]] = []
    for round_ in range(_MOST_ROUNDS + 1):
        R, origin = _reduced(R, origin)
        if not R.shape[0]:
            break
        rows, pivots = _pivots(R, priority)
        hopeless = len(rows) == 0 or round_ == _MOST_ROUNDS
        single = np.diff(R.indptr) == 1
        if hopeless or single.any():
            chosen = np.ones(R.shape[0], dtype=bool) if hopeless else single
            entries = np.repeat(chosen, np.diff(R.indptr))
            owner = np.repeat(origin, np.diff(R.indptr))[entries]
            pivots, first = np.unique(R.indices[entries], return_index=True)
            zero_because[pivots] = owner[first]
            definition = csr_array((len(pivots), n), dtype=np.int64)
        else:
            solved = R[rows]
            sign = np.asarray(solved[np.arange(len(rows)), pivots]).reshape(-1)
            keep = _diagonal(_without(n, pivots))
            definition = _diagonal(-sign) @ solved @ keep
            rest = np.ones(R.shape[0], dtype=bool)
            rest[rows] = False
            R, origin = R[rest], origin[rest]
        done.append((np.asarray(pivots, dtype=np.int64), definition))
        R = R @ _diagonal(_without(n, pivots)) + R[:, pivots] @ definition
    free = np.ones(n, dtype=np.int64)
    for pivots, _ in done:
        free[pivots] = 0
    combination = _diagonal(free)
    for pivots, definition in reversed(done):
        combination = combination + _rows_at(pivots, n) @ (definition @ combination)
    return Solution(_bounded(csr_array(combination)), zero_because)


def _reduced(R: csr_array, origin: Integers) -> tuple[csr_array, Integers]:
    """Without zeros, empty rows, common factors and rows whose numbers grew too large."""
    R = csr_array(R)
    R.sum_duplicates()
    R.eliminate_zeros()
    held = np.diff(R.indptr) > 0
    R, origin = R[held], origin[held]
    if R.shape[0]:
        factor = np.gcd.reduceat(R.data, R.indptr[:-1])
        R.data //= np.repeat(factor, np.diff(R.indptr))
        if np.abs(R.data).max() > _LARGEST_ON_THE_WAY:
            large = np.maximum.reduceat(np.abs(R.data), R.indptr[:-1]) > _LARGEST_ON_THE_WAY
            R.data[np.repeat(large, np.diff(R.indptr))] = 2  # no pivot: its variables become 0
    return R, origin


def _pivots(R: csr_array, priority: Integers) -> tuple[Integers, Integers]:
    """Rows to solve at once and the variable each is solved for; no row holds another's."""
    counts = np.bincount(R.indices, minlength=R.shape[1])
    top = int(priority.max()) + 1
    score = counts[R.indices] * top + (top - 1 - priority[R.indices])
    score[np.abs(R.data) != 1] = np.iinfo(np.int64).max
    best = np.minimum.reduceat(score, R.indptr[:-1])
    row_of = np.repeat(np.arange(R.shape[0]), np.diff(R.indptr))
    is_best = (score == best[row_of]) & (best[row_of] < np.iinfo(np.int64).max)
    rows, first = np.unique(row_of[is_best], return_index=True)
    pivots = R.indices[is_best][first]
    pivots, first = np.unique(pivots, return_index=True)
    rows = rows[first]
    if len(rows) > 1:
        claimed = np.zeros(R.shape[1], dtype=np.int64)
        claimed[pivots] = 1
        held = np.add.reduceat(claimed[R.indices], R.indptr[:-1])[rows]
        alone = held == 1
        if not alone.any():
            alone[0] = True
        rows, pivots = rows[alone], pivots[alone]
    return rows, pivots


def _without(n: int, columns: Integers) -> Integers:
    kept = np.ones(n, dtype=np.int64)
    kept[columns] = 0
    return kept


def _diagonal(values: Integers) -> csr_array:
    n = len(values)
    return csr_array((values, np.arange(n), np.arange(n + 1)), shape=(n, n))


def _rows_at(rows: Integers, n: int) -> csr_array:
    """The matrix that puts row k of its right-hand side at rows[k]."""
    k = len(rows)
    return csr_array((np.ones(k, dtype=np.int64), (rows, np.arange(k))), shape=(n, k))


def _bounded(combination: csr_array) -> csr_array:
    """With free variables that some combination holds too often set to 0."""
    combination.eliminate_zeros()
    large = np.unique(combination.indices[np.abs(combination.data) > _LARGEST])
    combination = csr_array(combination @ _diagonal(_without(combination.shape[1], large)))
    combination.eliminate_zeros()
    return combination
