"""What `solve` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.arrays import Framework, Incidence
from pathcond_native.device import DeviceIncidence, product_on_device
from pathcond_native.device_arrays import on_device
from pathcond_native.structured import Graph

__all__ = ["SolveResult"]

Array = Any
"""A NumPy array or a torch tensor, float64: the kind of array that g was."""


@dataclass(frozen=True, eq=False, repr=False)
class SolveResult:
    """A minimiser of F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i, arXiv 2602.19799 (9).

    p counts the rows with g > 0; rows with g = 0 are not part of the problem. Arrays are of the
    kind that g was (NumPy or torch), dtype float64 where nothing else is said; `history` is NumPy.
    With another criterion, read it for F, see `solve` and `rescale_`.
    """

    u: Array
    """(H,) solution; u_h = 2 log(lambda_h)."""
    objective: float
    """F(u), in nats."""
    initial_objective: float
    """F at the starting point."""
    gradient_norm: float
    """max_h |dF/du_h| / p at u, recomputed from the merged weights after the last step; with
    `max_scale` over the neurons that are not held at the edge of what it allows."""
    sweeps: int
    """Sweeps done; a Newton step counts as one."""
    passes: float
    """Reads of the merged weights, everything counted: sweeps, Hessian products, checks."""
    converged: bool
    """Whether the method's own criterion was met, see `solve`."""
    status: str
    """"converged", "max_sweeps", "stopped_by_callback" or "stalled" (rounding allows no step)."""
    frozen: Array
    """(H,) bool: neurons that no row with g > 0 touches; their u is u0 (0 by default)."""
    rows: int
    """p: number of rows with g > 0."""
    merged_rows: int
    """How many of them are different, as rows of B."""
    seconds: Mapping[str, float]
    """Wall time per stage."""
    history: npt.NDArray[np.float64]
    """(sweeps + 1,) F before the first sweep and after each."""
    _incidence: Graph | Incidence | DeviceIncidence
    _framework: Framework

    @cached_property
    def v(self) -> Array:
        """(p,) B u for every row of B, computed when first asked for."""
        if on_device(self.u):
            v = product_on_device(self._incidence, self.u, self._framework)
            if v is not None:
                return v
        assert not isinstance(self._incidence, DeviceIncidence)
        v = self._incidence.multiply(self._framework.to_numpy(self.u))
        return self._framework.from_numpy(v)

    @property
    def scales(self) -> Array:
        """(H,) lambda = exp(u / 2): what enters neuron h is multiplied by it."""
        return self._framework.exp(self.u / 2)

    @property
    def parameter_scales(self) -> Array:
        """(p,) exp(-v / 2): the factor of every parameter."""
        return self._framework.exp(self.v / -2)

    def __repr__(self) -> str:
        return (
            f"SolveResult({self.status}, neurons={len(self.frozen)}, rows={self.rows}, "
            f"merged_rows={self.merged_rows}, objective={self.objective:.10g} "
            f"(from {self.initial_objective:.10g}), gradient_norm={self.gradient_norm:.2e}, "
            f"sweeps={self.sweeps}, passes={self.passes:.1f})"
        )
