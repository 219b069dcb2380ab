"""Balanced squares (ENorm, Stock et al., arXiv 1902.10416): which neurons have no optimum.

The sum of g_i exp(-(B u)_i) has no minimum over a neuron whose rows with g > 0 all have the same
sign: it falls for ever. Such a neuron is held at the scale 1; its rows then belong to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.arrays import Incidence, read_incidence, read_weights
from pathcond_native.device_arrays import on_device
from pathcond_native.structured import Graph, Panel, Part, Reduced, whole

__all__ = ["hold_one_sided"]

Bools = npt.NDArray[np.bool_]


def hold_one_sided(
    incidence: Graph | Incidence, parts: Sequence[Part]
) -> tuple[Graph | Incidence, list[Part], Bools]:
    """The problem without the columns of neurons that have no minimum.

    Args:
        incidence: B, valid and canonical if it is a matrix.
        parts: g in the parts that B has.

    Returns:
        B and g in parts, with rows as they were, and (H,) which neurons are held.
    """
    if not isinstance(incidence, Incidence) and incidence.panels is not None:
        sides = np.zeros((2, incidence.shape[1] + 1), dtype=bool)  # the last for no neuron
        for part, (_, panel) in zip(parts, incidence.panels, strict=True):
            _mark(sides, part, panel)
        held = sides[0, :-1] != sides[1, :-1]
        return _Held(incidence, held), [_without(part, held) for part in parts], held
    g = whole(parts)
    if not isinstance(incidence, Incidence):
        incidence = read_incidence(incidence.incidence(), len(g))
    column = np.repeat(np.arange(incidence.columns), np.diff(incidence.indptr))
    values = incidence.values * (g[incidence.indices] > 0)
    sides = np.zeros((2, incidence.columns), dtype=bool)
    for side, present in zip(sides, (values > 0, values < 0), strict=True):
        side[column[present]] = True
    held = sides[0] != sides[1]
    return _emptied(incidence, held), [g], held


def _mark(sides: Bools, part: Part, panel: Panel) -> None:
    """Mark the neurons that some positive entry of g enters, and those that one leaves."""
    positive: Any
    if isinstance(part, Reduced):
        positive = part.sums > 0
        entered, left = part.entered, part.left
    else:
        positive = panel.view(part) > 0
        entered, left = panel.entered, panel.left
    k, e, m = positive.shape[:3]
    positive = positive.reshape(k, e, m, -1).any(-1)
    for side, ids, axis in ((sides[0], entered, -1), (sides[1], left, 1)):
        present = positive.any(axis)
        if on_device(present):
            present, _ = read_weights(present.reshape(-1))
        side[ids[np.asarray(present).reshape(ids.shape) > 0]] = True


def _without(part: Part, held: Bools) -> Part:
    if not isinstance(part, Reduced):
        return part
    return replace(part, entered=_freed(part.entered, held), left=_freed(part.left, held))


def _freed(ids: npt.NDArray[np.int32], held: Bools) -> npt.NDArray[np.int32]:
    """Held neurons become none."""
    return np.where(np.append(held, True)[ids], np.int32(-1), ids)


def _emptied(B: Incidence, held: Bools) -> Incidence:
    """B without the entries of some columns."""
    if not held.any():
        return B
    sizes = np.diff(B.indptr)
    kept = np.repeat(~held, sizes)
    indptr = np.zeros_like(B.indptr)
    np.cumsum(np.where(held, 0, sizes), out=indptr[1:])
    entries = slice(None, len(kept))
    return Incidence(B.rows, indptr, B.indices[entries][kept], B.values[entries][kept])


class _Held:
    """A graph with some neurons held at the scale 1."""

    def __init__(self, graph: Graph, held: Bools) -> None:
        self.graph, self.held, self.shape = graph, held, graph.shape

    @property
    def panels(self) -> Sequence[tuple[slice, Panel]] | None:
        return [(rows, _HeldPanel(panel, self.held)) for rows, panel in self.graph.panels or ()]

    def incidence(self) -> Incidence:
        return _emptied(read_incidence(self.graph.incidence(), self.shape[0]), self.held)

    def multiply(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.graph.multiply(np.where(self.held, 0.0, u))


@dataclass(frozen=True)
class _HeldPanel:
    panel: Panel
    held: Bools

    @property
    def entered(self) -> npt.NDArray[np.int32]:
        return _freed(self.panel.entered, self.held)

    @property
    def left(self) -> npt.NDArray[np.int32]:
        return _freed(self.panel.left, self.held)

    def view(self, part: Any) -> Any:
        return self.panel.view(part)
