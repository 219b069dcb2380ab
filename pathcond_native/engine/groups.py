"""Which channels are neurons: solve the facts about scale variables for the free ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from .facts import Facts, Use
from .program import Program
from .relations import eliminate
from .scales import Scales, Unsupported
from .sharing import settle

__all__ = ["Partition", "Pinned", "Unsupported", "Use", "partition"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pinned:
    """Channels of one layer that are not rescaled, and why."""

    where: str
    channels: int
    reason: str


@dataclass(frozen=True, eq=False)
class Partition:
    """The neurons of a program.

    `column_of[id]` is the neuron of a scale variable, -1 if its scale is 1, and H + k if it is the
    combination `sums[k]` of neurons (K x H). Neurons are numbered by the first id they hold, which
    is the order of the network. `layer_of` and `channel_of` (H) locate each neuron's first channel
    in `layers`. `uses[i]` is the one use of parameter i that may scale it, if any. `ended` numbers
    the steps at which paths end, `carried` the steps that only rearrange or combine parameters.
    """

    column_of: npt.NDArray[np.int32]
    sums: csr_array
    layers: tuple[str, ...]
    layer_of: Integers
    channel_of: Integers
    uses: tuple[Use | None, ...]
    pinned: tuple[Pinned, ...]
    unsupported: tuple[Unsupported, ...]
    ended: frozenset[int]
    carried: frozenset[int]


def partition(
    scales_of: Callable[[Facts, Program], Scales[Any]],
    program: Program,
    others: Sequence[Program] = (),
    untraced: Sequence[Unsupported] = (),
) -> Partition:
    """Sort the channels of a program into neurons and pinned ones.

    `scales_of` is the front end's `Scales`. `others` are further programs over the same parameters
    (the model in training mode): their functions are to be preserved too. `untraced` is what could
    not be looked at.
    """
    facts = Facts(program.parameters)
    scales = scales_of(facts, program)
    scales.walk()
    own = len(facts.layers)
    for other in others:
        scales_of(facts, other).walk()
    uses = tuple(settle(facts, program.aliases, program.entangled))

    component, first_ids = _components(facts)
    reason_of = _pin_reasons(facts, component, len(first_ids))
    combination = _combinations(facts, component, first_ids, reason_of)
    neurons, column, sums = _columns(combination, component, first_ids, uses)

    first_ids = first_ids[neurons]
    starts = np.array([layer.start for layer in facts.layers], dtype=np.int64)
    layer_of = np.searchsorted(starts, first_ids, side="right") - 1
    return Partition(
        column_of=column[component],
        sums=sums,
        layers=tuple(layer.name for layer in facts.layers),
        layer_of=layer_of,
        channel_of=first_ids - starts[layer_of] if len(starts) else first_ids,
        uses=uses,
        pinned=_pinned(facts, own, reason_of[component]),
        unsupported=(*scales.unsupported, *untraced),
        ended=frozenset(scales.ended),
        carried=frozenset(scales.carried),
    )


def _components(facts: Facts) -> tuple[Integers, Integers]:
    """Component of every id under the stated agreements, and the first id of every component.

    Agreeing with id 0 is a pin instead.
    """
    n = facts.count
    rows, columns = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for a, b, reason in facts.ties:
        facts.pins.append((a[b == 0], reason))
        facts.pins.append((b[a == 0], reason))
        both = (a != 0) & (b != 0) & (a != b)
        rows.append(a[both])
        columns.append(b[both])
    row, col = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, col)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    _, first_ids = np.unique(labels, return_index=True)
    return np.asarray(labels, dtype=np.int64), first_ids


def _pin_reasons(facts: Facts, component: Integers, n: int) -> Integers:
    """Per component, the first reason that pins it, or -1."""
    none = len(facts.reasons)
    reason_of = np.full(n, none, dtype=np.int64)
    for ids, reason in facts.pins:
        np.minimum.at(reason_of, component[ids], reason)
    reason_of[reason_of == none] = -1
    # Id 0 is the scale 1 even where nothing was stated about it.
    reason_of[component[0]] = max(reason_of[component[0]], 0)
    return reason_of


def _combinations(
    facts: Facts, component: Integers, first_ids: Integers, reason_of: Integers
) -> csr_array:
    """Every component as an integer combination of free ones; `reason_of` gains new pins."""
    n = len(first_ids)
    free = (reason_of < 0).astype(np.int64)
    unpinned = csr_array((free, np.arange(n), np.arange(n + 1)), shape=(n, n))
    if not facts.relations:
        unpinned.eliminate_zeros()
        return unpinned
    parts, reasons, start = [], [], 0
    for relation in facts.relations:
        k, m = relation.ids.shape
        rows = np.broadcast_to(np.arange(start, start + m), (k, m))
        values = np.broadcast_to(np.array(relation.coefficients)[:, None], (k, m))
        columns = component[relation.ids]
        parts.append([x.reshape(-1) for x in (values, rows, columns)])
        reasons.append(np.full(m, relation.reason))
        start += m
    values, rows, columns = (np.concatenate(x) for x in zip(*parts, strict=True))
    equations = csr_array((values.astype(np.int64), (rows, columns)), shape=(start, n))
    solution = eliminate(csr_array(equations @ unpinned), _priority(facts, component, first_ids))
    forced = solution.zero_because >= 0
    reason_of[forced] = np.concatenate(reasons)[solution.zero_because[forced]]
    combination = csr_array(solution.combination @ unpinned)
    combination.eliminate_zeros()
    vanished = (np.diff(combination.indptr) == 0) & (reason_of < 0)
    reason_of[vanished] = facts.reason("it is tied to pinned channels")
    return combination


def _priority(facts: Facts, component: Integers, first_ids: Integers) -> Integers:
    """Later scales are eliminated first, and parameters that are operands before anything else."""
    priority = first_ids.copy()
    held = np.bincount(component, minlength=len(first_ids))
    for parameter, (start, _) in facts.sources.items():
        own = component[start : start + facts.parameters[parameter].size]
        priority[own[held[own] == 1]] += facts.count
    return priority


def _columns(
    combination: csr_array, component: Integers, first_ids: Integers, uses: tuple[Use | None, ...]
) -> tuple[Integers, npt.NDArray[np.int32], csr_array]:
    """The components that are neurons, the column of every component, and the sums among them."""
    n = len(first_ids)
    held = np.diff(combination.indptr)
    alone = np.full(n, -1, dtype=np.int64)  # the free component that a component equals
    single = np.flatnonzero(held == 1)
    single = single[combination.data[combination.indptr[single]] == 1]
    alone[single] = combination.indices[combination.indptr[single]]
    several = np.flatnonzero((held > 0) & (alone < 0))
    alone[several] = -2

    weighted = np.zeros(n + 1, dtype=bool)  # the last stands for the scale 1
    for use in uses:
        if use is None:
            continue
        sides = component[use.emitted], component[use.consumed]
        if min(alone[side].min() for side in sides) > -2:
            _mark(weighted, alone[sides[0]], alone[sides[1]])
        else:
            _mark_combined(weighted, combination, *sides)
    neurons = np.flatnonzero(weighted[:n])
    neurons = neurons[np.argsort(first_ids[neurons])]
    number = np.full(n + 1, -1, dtype=np.int32)
    number[neurons] = np.arange(len(neurons), dtype=np.int32)
    column = number[alone]
    column[several] = len(neurons) + np.arange(len(several), dtype=np.int32)
    return neurons, column, csr_array(combination[:, neurons][several])


def _mark(weighted: npt.NDArray[np.bool_], emitted: Integers, consumed: Integers) -> None:
    """Mark free components for which some entry of a parameter has a non-zero in B."""
    outer = all(1 in sizes for sizes in zip(emitted.shape, consumed.shape, strict=True))
    if outer and np.ptp(emitted) and np.ptp(consumed):
        # Every pair of sides occurs, so none of them only ever meets itself.
        weighted[emitted] = weighted[consumed] = True
        return
    emitted, consumed = np.broadcast_arrays(emitted, consumed)
    differ = emitted != consumed
    weighted[emitted[differ]] = weighted[consumed[differ]] = True


def _mark_combined(
    weighted: npt.NDArray[np.bool_], combination: csr_array, emitted: Integers, consumed: Integers
) -> None:
    """The same where a side is a combination of free components."""
    n = combination.shape[1]
    outer = all(1 in sizes for sizes in zip(emitted.shape, consumed.shape, strict=True))
    if outer:
        # All pairs of sides occur: a component cancels only if all sides hold it equally often.
        sides = combination[np.unique(np.concatenate([emitted.reshape(-1), consumed.reshape(-1)]))]
        sides = sides.tocsc()
        lowest, highest = (x.toarray().reshape(-1) for x in (sides.min(axis=0), sides.max(axis=0)))
        weighted[:n] |= lowest != highest
        return
    emitted, consumed = (x.reshape(-1) for x in np.broadcast_arrays(emitted, consumed))
    pairs = np.unique(emitted * n + consumed)
    rows = combination[pairs // n] - combination[pairs % n]
    rows.eliminate_zeros()
    weighted[rows.indices] = True


def _pinned(facts: Facts, own: int, reason_of_id: Integers) -> tuple[Pinned, ...]:
    """Pinned channels by layer and reason; of other programs' layers those that are new."""
    met = {layer.parameter for layer in facts.layers[:own]}
    new = [layer for layer in facts.layers[own:] if layer.parameter not in met]
    counts: Counter[tuple[str, str]] = Counter()
    for layer in (*facts.layers[:own], *new):
        if not layer.channels:
            continue
        reasons = reason_of_id[layer.start : layer.stop]
        for reason in np.unique(reasons[reasons >= 0]):
            counts[layer.name, facts.reasons[reason]] += int((reasons == reason).sum())
    return tuple(Pinned(where, n, reason) for (where, reason), n in counts.items())
