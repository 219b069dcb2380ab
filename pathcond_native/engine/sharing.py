"""One parameter, several uses: every use must scale every entry by the same factor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .facts import Facts, Ids, Use
from .shapes import lead

__all__ = ["settle"]

_MOST_EQUATIONS = 1 << 21  # beyond it, overlapping uses of unlike shape leave the values alone


def settle(facts: Facts, aliases: Sequence[int], entangled: frozenset[int]) -> list[Use | None]:
    """State what the uses of every parameter imply; the one use that then stands for all.

    None for a parameter without use, and for one whose values must stay: its storage is shared by
    other parameters or buffers.
    """
    for parameter, (start, seen) in facts.sources.items():
        positions = np.flatnonzero(seen)
        facts.uses[parameter].append(Use(positions + start, np.zeros_like(positions), positions))
    used = Counter(aliases[i] for i, uses in enumerate(facts.uses) if uses)
    settled: list[Use | None] = []
    for info, alias, uses in zip(facts.parameters, aliases, facts.uses, strict=True):
        reason = f"parameter '{info.name}' is shared or used more than once"
        uses = [_straight(use, info.shape) for use in uses]
        if used[alias] > 1 or alias in entangled:
            for use in uses:
                facts.relate([(1, use.emitted), (-1, use.consumed)], reason)
            settled.append(None)
        elif not uses:
            settled.append(None)
        elif all(use.positions is None for use in uses):
            first, *others = uses
            for use in others:
                _agree(facts, use, first.emitted, first.consumed, reason)
            settled.append(first)
        else:
            settled.append(_gathered(facts, uses, info.shape, reason))
    return settled


def _agree(facts: Facts, use: Use, emitted: Ids, consumed: Ids, reason: str) -> None:
    if np.array_equal(use.emitted, emitted) and np.array_equal(use.consumed, consumed):
        return
    facts.relate([(1, use.emitted), (-1, use.consumed), (-1, emitted), (1, consumed)], reason)


def _straight(use: Use, shape: tuple[int, ...]) -> Use:
    """A use of all entries in permuted axes, such as a transpose, in the parameter's own layout."""
    positions = use.positions
    if positions is None or positions.size != math.prod(shape):
        return use
    axes = [axis for axis, size in enumerate(positions.shape) if size > 1]
    strides = positions.strides
    axes.sort(key=lambda axis: -strides[axis])
    order = [*axes, *(axis for axis, size in enumerate(positions.shape) if size <= 1)]
    places = positions.transpose(order).reshape([positions.shape[axis] for axis in axes])
    if list(places.shape) != [size for size in shape if size > 1]:
        return use
    if not np.array_equal(places, np.arange(places.size).reshape(places.shape)):
        return use

    def back(ids: Ids) -> Ids:
        ids = lead(ids, len(order)).transpose(order)
        sizes = iter(ids.shape)
        return ids.reshape([next(sizes) if size > 1 else 1 for size in shape])

    return Use(back(use.emitted), back(use.consumed))


def _gathered(facts: Facts, uses: list[Use], shape: tuple[int, ...], reason: str) -> Use:
    """Uses of parts of a parameter, entry by entry; entries without use keep their values."""
    size = math.prod(shape)
    emitted, consumed = (np.zeros(size, dtype=np.int64) for _ in range(2))
    seen = np.zeros(size, dtype=np.bool_)
    for use in uses:
        whole = np.arange(size).reshape(shape) if use.positions is None else use.positions
        places = whole.reshape(-1)
        given = [
            np.broadcast_to(ids, whole.shape).reshape(-1) for ids in (use.emitted, use.consumed)
        ]
        new = ~seen[places]
        for full, ids in zip((emitted, consumed), given, strict=True):
            full[places[new]] = ids[new]
        seen[places] = True
        held = emitted[places], consumed[places]
        differ = (given[0] != held[0]) | (given[1] != held[1])
        parts = [ids[differ] for ids in (*given, *held)]
        if int(differ.sum()) <= _MOST_EQUATIONS:
            facts.relate(list(zip((1, -1, -1, 1), parts, strict=True)), reason)
        else:
            facts.relate([(1, parts[0]), (-1, parts[1])], reason)
            facts.relate([(1, parts[2]), (-1, parts[3])], reason)
    return Use(emitted.reshape(shape), consumed.reshape(shape))
