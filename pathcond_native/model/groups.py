"""Which channels are neurons: scale variables, what ties them together, and what pins them to 1.

Rules only state facts: "these ids agree", "this id is 1, because ...". Nothing is merged until
all facts are known; then one pass over connected components gives the neurons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import compressed
from .program import Program, Step, Value
from .rule import NoRule
from .rules import RULES

__all__ = ["Partition", "Pinned", "Scales", "Unsupported", "Use", "partition"]


@dataclass(frozen=True)
class Pinned:
    """Channels of one layer that are not rescaled, and why."""

    where: str
    channels: int
    reason: str


@dataclass(frozen=True)
class Unsupported:
    """An operator that ends paths, and why."""

    operator: str
    where: str
    reason: str


@dataclass(frozen=True)
class Use:
    """One use of a parameter: its entries gain scale(emitted) and lose scale(consumed).

    Both are int64 id tensors that broadcast to the parameter's shape.
    """

    emitted: Tensor
    consumed: Tensor


@dataclass(frozen=True)
class _Layer:
    """A run of fresh ids: the output channels of one layer."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Partition:
    """The neurons of a program.

    `column_of[id]` is the neuron of a scale variable, -1 if it is pinned; neurons are numbered by
    the first id they hold, which is the order of the network. `layer_of` and `channel_of` (H)
    locate each neuron's first channel in `layers`. `uses[i]` is the one use of parameter i that
    may scale it, if any. `ended` numbers the steps at which paths end.
    """

    column_of: npt.NDArray[np.int32]
    layers: tuple[str, ...]
    layer_of: npt.NDArray[np.int64]
    channel_of: npt.NDArray[np.int64]
    uses: tuple[Use | None, ...]
    pinned: tuple[Pinned, ...]
    unsupported: tuple[Unsupported, ...]
    ended: frozenset[int]


class Scales:
    """The facts about scale variables, collected while walking through a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ids: dict[int, Tensor] = {}
        self.layers: list[_Layer] = []
        self.count = 1  # id 0 is the scale 1
        self.ties: list[tuple[Tensor, Tensor, int]] = []
        self.pins: list[tuple[Tensor, int]] = []
        self.reasons: list[str] = []
        self.uses: list[list[Use]] = [[] for _ in program.parameters]
        self._registered: set[int] = set()

    def __getitem__(self, value: Value) -> Tensor:
        return self.ids[value.index] if value.index in self.ids else self.fixed(value)

    def is_static(self, value: Value) -> bool:
        """Whether the value depends on no input of the model."""
        return value.index in self.program.static

    def is_parameter(self, value: Value) -> bool:
        """Whether the value is a parameter itself, not something computed from one."""
        return value.index in self.program.parameter_of

    def fixed(self, value: Value) -> Tensor:
        """Ids of a tensor whose scale is 1 throughout."""
        return torch.zeros((1,) * len(value.shape), dtype=torch.int64)

    def fresh(self, step: Step, weight: Value, n: int) -> Tensor:
        """Ids of the n output channels of the layer that owns `weight`."""
        index = self.program.parameter_of.get(weight.index)
        name = self.program.parameters[index].layer if index is not None else step.module
        start, self.count = self.count, self.count + n
        self.layers.append(_Layer(name, start, self.count))
        return torch.arange(start, self.count)

    def equal(self, a: Tensor, b: Tensor, reason: str) -> Tensor:
        """State that a and b agree after broadcasting; the ids of the result.

        `reason` is told to the user where one of them is pinned outright.
        """
        rank = max(a.dim(), b.dim())
        a, b = compressed.lead(a, rank), compressed.lead(b, rank)
        for axis in range(rank):
            if a.shape[axis] == 1 < b.shape[axis]:
                b = self.uniform(b, [axis])
            elif b.shape[axis] == 1 < a.shape[axis]:
                a = self.uniform(a, [axis])
        self.ties.append((a.reshape(-1), b.reshape(-1), self._reason(reason)))
        return a

    def uniform(self, ids: Tensor, axes: Iterable[int]) -> Tensor:
        """State that ids agree along the axes; the ids with those axes compressed."""
        for axis in axes:
            if ids.shape[axis] > 1:
                first = ids.narrow(axis, 0, 1)
                reason = self._reason("it is mixed with a pinned channel")
                self.ties.append((ids.reshape(-1), first.expand_as(ids).reshape(-1), reason))
                ids = first
        return ids

    def pin(self, ids: Tensor, reason: str) -> None:
        """State that the scale is 1."""
        self.pins.append((ids.reshape(-1), self._reason(reason)))

    def weight(self, step: Step, weight: Value, emitted: Tensor, consumed: Tensor) -> None:
        """State that `weight` maps channels of scale `consumed` to channels of scale `emitted`."""
        index = self.program.parameter_of.get(weight.index)
        if index is None:
            self.equal(emitted, consumed, f"the weight of {step.place} is not a parameter")
        else:
            self.uses[index].append(Use(emitted, consumed))
            self._registered.add(index)

    def bias(self, step: Step, bias: Value | None, emitted: Tensor) -> None:
        """State that `bias`, if there is one, is added to channels of scale `emitted`."""
        if bias is not None:
            self.weight(step, bias, emitted, torch.zeros_like(emitted))

    def _reason(self, reason: str) -> int:
        self.reasons.append(reason)
        return len(self.reasons) - 1

    def walk(self, step: Step) -> Unsupported | None:
        """Apply the step's rule; what it could not do, if anything."""
        self._registered.clear()
        problem = None
        try:
            if step.name not in RULES:
                raise NoRule("it has no scaling rule")
            if any(0 in v.shape for v in (*step.inputs(), step.outputs[0])):
                raise NoRule("it handles an empty tensor")
            self.ids[step.outputs[0].index] = RULES[step.name].scale(self, step)
        except NoRule as no_rule:
            problem = Unsupported(step.name, step.module, str(no_rule))
            for value in step.inputs():
                self.pin(self[value], f"feeds {step.place}: {no_rule}")
        self.keep_parameters(step)
        return problem

    def keep_parameters(self, step: Step) -> None:
        """A parameter that the rule did not speak of enters the step as it is."""
        for value in step.inputs():
            index = self.program.parameter_of.get(value.index)
            if index is not None and index not in self._registered:
                one = self.fixed(value)
                self.uses[index].append(Use(one, one))

    def tie_shared_parameters(self) -> None:
        """A parameter with several uses keeps its values: what enters it leaves it unscaled."""
        program = self.program
        total = Counter(program.aliases[i] for i, uses in enumerate(self.uses) for _ in uses)
        for parameter, alias, uses in zip(
            program.parameters, program.aliases, self.uses, strict=True
        ):
            if total[alias] > 1 or alias in program.entangled:
                for use in uses:
                    reason = f"parameter '{parameter.name}' is shared or used more than once"
                    self.equal(use.emitted, use.consumed, reason)
                uses.clear()


def partition(program: Program) -> Partition:
    """Walk through the program and sort its channels into neurons and pinned ones."""
    scales = Scales(program)
    ended, unsupported = set(), []
    for number, step in enumerate(program.steps):
        if all(v.index in program.static for v in step.outputs):
            scales.keep_parameters(step)
        elif problem := scales.walk(step):
            ended.add(number)
            unsupported.append(problem)
    for value in program.outputs:
        scales.pin(scales[value], "model output")
    for value in program.states:
        scales.pin(scales[value], "is stored in the model's state")
    for value in (*program.outputs, *program.states):
        if (index := program.parameter_of.get(value.index)) is not None:
            one = scales.fixed(value)
            scales.uses[index].append(Use(one, one))
    scales.tie_shared_parameters()

    component = _components(scales)
    reason_of = _pin_reasons(scales, component)
    uses = tuple(use[0] if use else None for use in scales.uses)

    weighted = np.zeros(len(reason_of), dtype=bool)
    for use in uses:
        if use is not None:
            _mark_weighted(
                weighted, component[use.emitted.numpy()], component[use.consumed.numpy()]
            )
    labels, first_ids = np.unique(component, return_index=True)
    is_neuron = (reason_of[labels] < 0) & weighted[labels]
    order = np.argsort(first_ids[is_neuron])
    first_ids = first_ids[is_neuron][order]
    column = np.full(len(labels), -1, dtype=np.int32)
    column[labels[is_neuron][order]] = np.arange(len(order), dtype=np.int32)

    starts = np.array([layer.start for layer in scales.layers], dtype=np.int64)
    layer_of = np.searchsorted(starts, first_ids, side="right") - 1
    return Partition(
        column_of=column[component],
        layers=tuple(layer.name for layer in scales.layers),
        layer_of=layer_of,
        channel_of=first_ids - starts[layer_of] if len(starts) else first_ids,
        uses=uses,
        pinned=_pinned(scales, reason_of[component]),
        unsupported=tuple(unsupported),
        ended=frozenset(ended),
    )


def _components(scales: Scales) -> npt.NDArray[np.int64]:
    """Component of every id under the stated agreements; agreeing with id 0 is a pin instead."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = scales.count
    rows, columns = [], []
    for a, b, reason in scales.ties:
        scales.pins.append((a[b == 0], reason))
        scales.pins.append((b[a == 0], reason))
        both = (a != 0) & (b != 0) & (a != b)
        rows.append(a[both].numpy())
        columns.append(b[both].numpy())
    row = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    col = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, col)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def _pin_reasons(scales: Scales, component: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Per component, the first reason that pins it, or -1."""
    none = len(scales.reasons)
    reason_of = np.full(component.max() + 1, none, dtype=np.int64)
    for ids, reason in scales.pins:
        np.minimum.at(reason_of, component[ids.numpy()], reason)
    reason_of[reason_of == none] = -1
    # Id 0 is the scale 1 even where nothing was stated about it.
    reason_of[component[0]] = max(reason_of[component[0]], 0)
    return reason_of


def _mark_weighted(
    weighted: npt.NDArray[np.bool_],
    emitted: npt.NDArray[np.int64],
    consumed: npt.NDArray[np.int64],
) -> None:
    """Mark components for which some entry of a parameter has a non-zero in B."""
    outer = all(1 in sizes for sizes in zip(emitted.shape, consumed.shape, strict=True))
    if outer and np.ptp(emitted) and np.ptp(consumed):
        # Every pair of sides occurs, so none of them only ever meets itself.
        weighted[emitted] = weighted[consumed] = True
        return
    emitted, consumed = np.broadcast_arrays(emitted, consumed)
    differ = emitted != consumed
    weighted[emitted[differ]] = weighted[consumed[differ]] = True


def _pinned(scales: Scales, reason_of_id: npt.NDArray[np.int64]) -> tuple[Pinned, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for layer in scales.layers:
        reasons = reason_of_id[layer.start : layer.stop]
        for reason in np.unique(reasons[reasons >= 0]):
            counts[layer.name, scales.reasons[reason]] += int((reasons == reason).sum())
    return tuple(Pinned(where, n, reason) for (where, reason), n in counts.items())
