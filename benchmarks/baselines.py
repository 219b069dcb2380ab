"""What `pathcond_native.solve` is compared with.

p, H: rows and columns of B;  g: diag(G), positive;  v = B u;  w_i = g_i exp(v_i);
F(u) = p log(sum_i w_i) - sum_i v_i;  d = B' 1 (leaving minus entering rows of each neuron).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse import csc_array, csr_array

Vector = npt.NDArray[np.float64]


class SparseObjective:
    """F/p and its gradient from B itself, float64: two sparse products, each with its best layout.

    B is kept by rows and by columns; making these copies is not part of any timing.
    """

    def __init__(self, B: csc_array, g: Vector) -> None:
        self.p, self.H = B.shape
        self.rows: csr_array = B.astype(np.float64).tocsr()
        self.columns: csr_array = B.astype(np.float64).T.tocsr()
        self.log_g = np.log(g)
        self.d = self.columns @ np.ones(self.p)

    def __call__(self, u: Vector) -> tuple[float, Vector]:
        """(F(u), gradient), both divided by p."""
        w = self.rows @ u
        w += self.log_g
        shift = w.max()
        w -= shift
        np.exp(w, out=w)
        total = w.sum()
        value = math.log(total) + shift - self.d @ u / self.p
        return value, self.columns @ w / total - self.d / self.p


def lbfgsb(objective: SparseObjective, target: float) -> OptimizeResult:
    """SciPy's L-BFGS-B from u = 0, stopped in the iteration that brings F/p down to `target`."""

    def stop(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.fun <= target:
            raise StopIteration

    # Forty corrections: on CIFAR-NV half the iterations that ten need, elsewhere no more.
    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 0.0, "gtol": 0.0, "maxcor": 40}
    start = np.zeros(objective.H)
    return minimize(objective, start, jac=True, method="L-BFGS-B", callback=stop, options=options)


@dataclass(frozen=True)
class EdgeSets:
    """The rows that leave and that enter each neuron, as index tensors."""

    leaving: list[torch.Tensor]
    entering: list[torch.Tensor]


def edge_sets(B: csc_array) -> EdgeSets:
    """Split every column of a -1/0/+1 matrix by sign."""
    sets = EdgeSets([], [])
    for start, stop in zip(B.indptr[:-1], B.indptr[1:], strict=True):
        rows = torch.from_numpy(B.indices[start:stop].astype(np.int64))
        positive = torch.from_numpy(B.data[start:stop] > 0)
        sets.leaving.append(rows[positive])
        sets.entering.append(rows[~positive])
    return sets


def python_sweeps(sets: EdgeSets, g: torch.Tensor, sweeps: int) -> torch.Tensor:
    """The paper's coordinate descent (Algorithm 3), one torch expression per quantity and neuron.

    As the paper has it, v is updated incrementally and the global sum is refreshed by recomputing
    the terms that changed. Every neuron must have leaving and entering rows; g must be positive.
    """
    p = len(g)
    u = torch.zeros(len(sets.leaving), dtype=torch.float64)
    v = torch.zeros(p, dtype=torch.float64)
    total = float(g.sum())
    for _ in range(sweeps):
        for h, (leaving, entering) in enumerate(zip(sets.leaving, sets.entering, strict=True)):
            outward = float((g[leaving] * v[leaving].exp()).sum())
            inward = float((g[entering] * v[entering].exp()).sum())
            rest = max(total - outward - inward, 0.0)
            step = math.log(positive_root(p, len(leaving) - len(entering), outward, inward, rest))
            u[h] += step
            v[leaving] += step
            v[entering] -= step
            outward = float((g[leaving] * v[leaving].exp()).sum())
            inward = float((g[entering] * v[entering].exp()).sum())
            total = rest + outward + inward
    return u


def numba_sweeps(B: csc_array, g: Vector) -> Callable[[int], Vector]:
    """The same sweeps compiled by Numba, entry by entry; call with the number of sweeps.

    Compiled here, before any timing. The weights w = g exp(v) are the state: no exp per entry.
    """
    import numba

    @numba.njit(fastmath=True)
    def run(
        indptr: Any, indices: Any, signs: Any, weights: Any, degree: Any, sweeps: int
    ) -> Vector:
        p, total = len(weights), weights.sum()
        w, u = weights.copy(), np.zeros(len(indptr) - 1)
        for _ in range(sweeps):
            for h in range(len(u)):
                outward = inward = 0.0
                for k in range(indptr[h], indptr[h + 1]):
                    if signs[k] > 0:
                        outward += w[indices[k]]
                    else:
                        inward += w[indices[k]]
                rest, d = max(total - outward - inward, 0.0), degree[h]
                a, b, c = (p - d) * outward, d * rest, (p + d) * inward
                t = (b + math.sqrt(b * b + 4.0 * a * c)) / (2.0 * a)
                u[h] += math.log(t)
                for k in range(indptr[h], indptr[h + 1]):
                    w[indices[k]] *= t if signs[k] > 0 else 1.0 / t
                total = rest + outward * t + inward / t
        return u

    degree = np.asarray(B.sum(axis=0)).ravel().astype(np.float64)
    arrays = (B.indptr, B.indices, B.data, g, degree)
    run(*arrays, 0)
    return lambda sweeps: run(*arrays, sweeps)


def positive_root(p: int, d: int, outward: float, inward: float, rest: float) -> float:
    """The t > 0 with (p - d) outward t^2 - d rest t - (p + d) inward = 0 (Lemma 4.1)."""
    a, b, c = (p - d) * outward, d * rest, (p + d) * inward
    return (b + math.sqrt(b * b + 4 * a * c)) / (2 * a)
