"""Facts about scale variables and the parameters between them.

Facts are only collected here: "these ids agree", "this combination of ids is 0", "this id is 1,
because ...". Nothing is merged until all are known. Scales are kept by their logarithm, so that a
product of two tensors has the sum of their scales and id 0, whose value is 0, is the scale 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .program import ParameterInfo
from .shapes import common_shape, lead

__all__ = ["Facts", "Ids", "Layer", "Relation", "Use"]

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Use:
    """One use of a parameter: its entries gain scale(emitted) and lose scale(consumed).

    Both are int64 arrays of ids. They broadcast to the shape of `positions`, the flat positions of
    the entries used, or to the parameter's shape if `positions` is None.
    """

    emitted: Ids
    consumed: Ids
    positions: Ids | None = None


@dataclass(frozen=True)
class Layer:
    """A run of fresh ids; `channels` if they are output channels of a layer.

    `parameter` is the layer's weight where that is a parameter.
    """

    name: str
    start: int
    stop: int
    channels: bool
    parameter: int | None


@dataclass(frozen=True)
class Relation:
    """m equations Σ_k coefficients[k] · ids[k] = 0; ids has shape (K, m)."""

    coefficients: tuple[int, ...]
    ids: Ids
    reason: int


@dataclass
class Facts:
    """What is known about scale variables and parameters, from all programs of one model."""

    parameters: tuple[ParameterInfo, ...]
    layers: list[Layer] = field(default_factory=list)
    count: int = 1  # id 0 is the scale 1
    ties: list[tuple[Ids, Ids, int]] = field(default_factory=list)
    pins: list[tuple[Ids, int]] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    uses: list[list[Use]] = field(default_factory=list)
    sources: dict[int, tuple[int, npt.NDArray[np.bool_]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.uses = [[] for _ in self.parameters]

    def fresh(self, name: str, n: int, channels: bool = True, parameter: int | None = None) -> Ids:
        """Ids of n new scale variables."""
        start, self.count = self.count, self.count + n
        self.layers.append(Layer(name, start, self.count, channels, parameter))
        return np.arange(start, self.count)

    def reason(self, text: str) -> int:
        """The number of a reason."""
        self.reasons.append(text)
        return len(self.reasons) - 1

    def pin(self, ids: Ids, reason: str) -> None:
        """State that the scale is 1."""
        self.pins.append((ids.reshape(-1), self.reason(reason)))

    def uniform(self, ids: Ids, axes: Iterable[int], reason: str = "") -> Ids:
        """State that ids agree along the axes; the ids with those axes compressed."""
        for axis in axes:
            if ids.shape[axis] > 1:
                first = ids.take([0], axis)
                number = self.reason(reason or "it is mixed with a pinned channel")
                self.ties.append(
                    (ids.reshape(-1), np.broadcast_to(first, ids.shape).reshape(-1), number)
                )
                ids = first
        return ids

    def relate(self, terms: Sequence[tuple[int, Ids]], reason: str) -> list[Ids]:
        """State that Σ coefficient · ids = 0 wherever the terms broadcast; the terms, compressed.

        Terms that vary along different axes are separated: f(i) + g(j) = 0 for all i and j means
        that both are constant.
        """
        rank = max(ids.ndim for _, ids in terms)
        coefficients = [c for c, _ in terms]
        tensors = [lead(ids, rank) for _, ids in terms]
        for axis in range(rank):
            stored = [k for k, ids in enumerate(tensors) if ids.shape[axis] > 1]
            if len(stored) == 1:
                tensors[stored[0]] = self.uniform(tensors[stored[0]], [axis], reason)
        *others, last = _separate(tensors)
        for group in others:
            total = self.fresh("", 1, channels=False).reshape((1,) * rank)
            signs = [coefficients[k] for k in group]
            self._state([*signs, -1], [*(tensors[k] for k in group), total], reason)
            last = [*last, len(tensors)]
            coefficients.append(1)
            tensors.append(total)
        self._state([coefficients[k] for k in last], [tensors[k] for k in last], reason)
        return tensors[: len(terms)]

    def derived(self, name: str, terms: Sequence[tuple[int, Ids]], reason: str) -> Ids:
        """Ids of Σ coefficient · ids, entry by entry."""
        shape = common_shape([ids for _, ids in terms])
        result = self.fresh(name, math.prod(shape), channels=False).reshape(shape)
        self._state([-1, *(c for c, _ in terms)], [result, *(ids for _, ids in terms)], reason)
        return result

    def _state(self, coefficients: Sequence[int], tensors: Sequence[Ids], reason: str) -> None:
        held = [(c, ids) for c, ids in zip(coefficients, tensors, strict=True) if bool(ids.any())]
        if not held:
            return
        shape = common_shape([ids for _, ids in held])
        flat = [np.broadcast_to(ids, shape).reshape(-1) for _, ids in held]
        number = self.reason(reason)
        signs = tuple(c for c, _ in held)
        if len(held) == 1:
            self.pins.append((flat[0], number))
        elif signs in ((1, -1), (-1, 1)):
            self.ties.append((flat[0], flat[1], number))
        else:
            self.relations.append(Relation(signs, np.stack(flat), number))

    def source(self, parameter: int, positions: Ids) -> Ids:
        """Ids of entries of a parameter that is an operand itself, not a layer's weight."""
        info = self.parameters[parameter]
        if parameter not in self.sources:
            start = self.count
            self.fresh(info.layer, info.size, channels=False)
            self.sources[parameter] = start, np.zeros(info.size, dtype=np.bool_)
        start, seen = self.sources[parameter]
        seen[positions.reshape(-1)] = True
        return np.asarray(positions + start)  # of a 0-d array too


def _separate(tensors: Sequence[Ids]) -> list[list[int]]:
    """Group terms that vary along a common axis; constant terms join the last group."""
    groups: list[tuple[set[int], list[int]]] = []
    constant: list[int] = []
    for k, ids in enumerate(tensors):
        axes = {axis for axis, size in enumerate(ids.shape) if size > 1}
        if not axes:
            constant.append(k)
            continue
        joined = [group for group in groups if group[0] & axes]
        groups = [group for group in groups if not group[0] & axes]
        members = [m for _, group in joined for m in group]
        groups.append((axes.union(*(a for a, _ in joined)), [*members, k]))
    if not groups:
        return [constant]
    return [members for _, members in groups[:-1]] + [groups[-1][1] + constant]
