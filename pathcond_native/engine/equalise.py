"""Cross-layer equalisation (Nagel et al., arXiv 1906.04721, as in AIMET), for any graph.

For every neuron the largest |weight| that enters it becomes the largest that leaves it. Pairs of
layers are the paper's case: λ_i = sqrt(r_out / r_in) with the ranges r of channel i, pair by pair
until nothing changes. Here a neuron may have any number of producers and consumers, and the ranges
run over all of them. Biases are scaled, but no part of a range. Neurons follow one another in the
order of the network: where several solutions exist, that and λ = 1 at the start choose one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array

from .. import _core
from ..frameworks import Framework
from ..result import SolveResult
from ..structured import Panel
from .graph import RescalingGraph

__all__ = ["Equalisation", "Sizes"]

_TOLERANCE = 1e-9  # of log(r_in / r_out): far below what any format of weights can tell
_MAX_SWEEPS = 1000

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int8]]
"""Row, neuron and value of entries of B."""

Sizes = Mapping[int, Callable[[], npt.NDArray[np.float64]]]
"""Of parameters by number: what gives |weight|, flat."""


class Equalisation:
    """The ranges of weights, merged where rows of B are equal; `sizes` gives |weight| by number."""

    def __init__(self, graph: RescalingGraph, sizes: Sizes) -> None:
        self._graph = graph
        collect = _all_rows if graph.panels is None else _merged_rows
        self._B, size = collect(graph, sizes)
        self._log_size = np.log(size)

    def solve(
        self,
        u0: npt.NDArray[np.float64] | None = None,
        tol: float | None = None,
        max_sweeps: int | None = None,
        max_scale: float | None = None,
    ) -> SolveResult:
        """Equalise from u0.

        Args:
            u0: (H,), default 0.
            tol: the largest |log(r_in / r_out)| to reach, default 1e-9.
            max_sweeps: cycles over all neurons at most, default 1000.
            max_scale: as for `pathcond_native.solve`.

        Returns:
            A result whose `objective` is the largest |log(r_in / r_out)|, and its `gradient_norm`
            the same over neurons that `max_scale` lets make it smaller.
        """
        B, H = self._B, self._graph.shape[1]
        tol = _TOLERANCE if tol is None else tol
        u, history, left = _core.equalise(
            B.indptr.astype(np.int32),
            B.indices.astype(np.int32),
            B.data,
            self._log_size,
            u0=[] if u0 is None else u0.tolist(),
            max_scale=np.inf if max_scale is None else max_scale,
            tolerance=tol,
            max_sweeps=_MAX_SWEEPS if max_sweeps is None else max_sweeps,
        )
        column = np.repeat(np.arange(H), np.diff(B.indptr))
        enter, leave = (np.bincount(column[B.data * sign > 0], minlength=H) for sign in (-1, 1))
        converged = left <= tol
        return SolveResult(
            objective=float(history[-1]),
            initial_objective=float(history[0]),
            gradient_norm=left,
            sweeps=len(history) - 1,
            passes=2.0 * len(history),
            converged=converged,
            status="converged" if converged else "max_sweeps",
            frozen=(enter == 0) | (leave == 0),
            rows=len(self._log_size),
            merged_rows=len(self._log_size),
            seconds={},
            history=history,
            _u=u,
            _incidence=self._graph,
            _framework=Framework(),
        )


def _all_rows(graph: RescalingGraph, sizes: Sizes) -> tuple[csc_array, npt.NDArray[np.float64]]:
    """B and |weight|, for rows of weights that are not 0."""
    size = np.zeros(graph.shape[0])
    for number, entries in sizes.items():
        info = graph.parameters[number]
        size[info.offset : info.offset + info.size] = entries()
    rows = np.flatnonzero(size)
    return csc_array(graph.incidence().tocsr()[rows]), size[rows]


def _merged_rows(graph: RescalingGraph, sizes: Sizes) -> tuple[csc_array, npt.NDArray[np.float64]]:
    """The same, of equal rows the largest."""
    found: list[npt.NDArray[np.float64]] = []
    entries: list[Columns] = []
    rows = 0
    for number, (_, panel) in enumerate(graph.panels or ()):
        if number in sizes:
            size, columns = _panel_rows(panel, sizes[number]())
            found.append(size)
            entries += [(row + rows, neuron, value) for row, neuron, value in columns]
            rows += len(size)
    row, neuron, value = (
        (np.concatenate(x) for x in zip(*entries, strict=True))
        if entries
        else (np.zeros(0, t) for t in (np.int64, np.int32, np.int8))
    )
    B = coo_array((value, (row, neuron)), shape=(rows, graph.shape[1]))
    return csc_array(B), np.concatenate([*found, np.zeros(0)])


def _panel_rows(
    panel: Panel, size: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], list[Columns]]:
    largest = panel.view(size).max(axis=(3, 4))
    k, e, m = np.nonzero(largest)
    entered, left = panel.entered[k, e], panel.left[k, m]
    columns = []
    for neuron, value in ((entered, -1), (left, 1)):
        row = np.flatnonzero((neuron >= 0) & (entered != left))
        columns.append((row, neuron[row], np.full(len(row), value, np.int8)))
    return largest[k, e, m], columns
