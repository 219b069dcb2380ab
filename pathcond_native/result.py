"""What `solve` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.arrays import Incidence
from pathcond_native.device import DeviceIncidence, product_on_device
from pathcond_native.device_arrays import on_device
from pathcond_native.frameworks import DeviceFramework, Framework
from pathcond_native.structured import Graph

__all__ = ["SolveResult"]

Array = Any
"""The kind of array that g was: NumPy, torch, CuPy, JAX, or another of the array API standard."""


@dataclass(frozen=True, eq=False, repr=False)
class SolveResult:
    """A minimiser of F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i, arXiv 2602.19799 (9).

    p counts the rows with g > 0; rows with g = 0 are not part of the problem. Arrays are of the
    kind that g was, on its device, float64 where nothing else is said. Where that kind has no
    float64 (JAX unless `jax_enable_x64` is set, some devices), each is computed in float64 and then
    rounded, once; `np.asarray(g)` instead of g gives all digits. Numbers and `history`, which is
    NumPy, belong to the solution before it was rounded.
    With another criterion, read it for F, see `solve` and `rescale_`.
    """

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
    _u: npt.NDArray[np.float64]
    _incidence: Graph | Incidence | DeviceIncidence
    _framework: Framework

    @cached_property
    def u(self) -> Array:
        """(H,) solution; u_h = 2 log(lambda_h)."""
        return self._framework.from_numpy(self._u)

    @cached_property
    def v(self) -> Array:
        """(p,) B u for every row of B, computed when first asked for."""
        return self._v if on_device(self._v) else self._framework.from_numpy(self._v)

    @property
    def scales(self) -> Array:
        """(H,) lambda = exp(u / 2): what enters neuron h is multiplied by it."""
        return self._framework.from_numpy(np.exp(self._u / 2))

    @property
    def parameter_scales(self) -> Array:
        """(p,) exp(-v / 2): the factor of every parameter."""
        if isinstance(self._framework, DeviceFramework) and on_device(self._v):
            return self._framework.exp(self._v / -2)
        return self._framework.from_numpy(np.exp(self._v / -2))

    @cached_property
    def _v(self) -> Array:
        """(p,) float64: on g's device where that can be, else NumPy."""
        if isinstance(self._framework, DeviceFramework) and on_device(self.u):
            v = product_on_device(self._incidence, self.u, self._framework)
            if v is not None:
                return v
        assert not isinstance(self._incidence, DeviceIncidence)
        return self._incidence.multiply(self._u)

    def __repr__(self) -> str:
        return (
            f"SolveResult({self.status}, neurons={len(self.frozen)}, rows={self.rows}, "
            f"merged_rows={self.merged_rows}, objective={self.objective:.10g} "
            f"(from {self.initial_objective:.10g}), gradient_norm={self.gradient_norm:.2e}, "
            f"sweeps={self.sweeps}, passes={self.passes:.1f})"
        )
