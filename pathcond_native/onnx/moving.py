"""Rules of operators that move entries: shapes, slices, shuffles, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..engine.facts import Ids
from ..engine.program import Step, Value
from ..engine.rule import NoRule, only_if
from ..engine.shapes import expanded, lead, reshaped
from .layers import TABLE
from .rule import AnyArray, Rule, first_operand, moves, setting
from .tape import Scaled

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = [
    "BLOCKS",
    "CAST",
    "EXPAND",
    "FLATTEN",
    "GATHER",
    "NEGATIVE",
    "PAD",
    "RESHAPE",
    "SAME",
    "SLICE",
    "SPLIT",
    "TILE",
    "TRANSPOSE",
]


def _reshape(step: Step, x: AnyArray) -> AnyArray:
    for name in ("shape", "axes"):
        setting(step, name)
    full, stored = reshaped(x.shape, first_operand(step).shape, step.outputs[0].shape)
    return np.broadcast_to(x, full).reshape(stored)


def _transpose(step: Step, x: AnyArray) -> AnyArray:
    return x.transpose(step["perm"] or tuple(reversed(range(x.ndim))))


def _expand(step: Step, x: AnyArray) -> AnyArray:
    setting(step, "shape")
    return lead(x, len(step.outputs[0].shape))


def _in_full(step: Step, x: AnyArray, axes: Sequence[int]) -> AnyArray:
    """With these axes stored in full; the others may stay compressed."""
    return expanded(x, first_operand(step).shape, axes)


def _slice(step: Step, x: AnyArray) -> AnyArray:
    starts, ends = setting(step, "starts"), setting(step, "ends")
    axes, steps = setting(step, "axes"), setting(step, "steps")
    axes = range(len(starts)) if axes is None else [int(a) % x.ndim for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    x = _in_full(step, x, axes)
    at = [slice(None)] * x.ndim
    for axis, first, last, stride in zip(axes, starts, ends, steps, strict=True):
        at[axis] = _slice_of(x.shape[axis], int(first), int(last), int(stride))
    return x[tuple(at)]


def _slice_of(n: int, first: int, last: int, stride: int) -> slice:
    """ONNX clamps what Python would take for counted from the end."""
    if stride < 0 and last < -n:
        return slice(first, None, stride)
    return slice(max(first, -n) if stride > 0 else first, last, stride)


def _split(step: Step, x: AnyArray) -> list[AnyArray]:
    axis = int(step["axis"]) % x.ndim
    ends = np.cumsum([v.shape[axis] for v in step.outputs])[:-1]
    if x.shape[axis] == 1:
        return [x] * len(step.outputs)
    return np.split(x, ends, axis)


def _gather(step: Step, x: AnyArray) -> AnyArray:
    indices = setting(step, "indices")
    axis = int(step["axis"]) % x.ndim
    if x.shape[axis] == 1:
        shape = (*x.shape[:axis], *(1,) * np.ndim(indices), *x.shape[axis + 1 :])
        return x.reshape(shape)
    return np.asarray(np.take(x, indices, axis))


def _tile(step: Step, x: AnyArray) -> AnyArray:
    counts = setting(step, "repeats")
    return np.tile(x, [int(n) if s > 1 else 1 for n, s in zip(counts, x.shape, strict=True)])


def _blocks(step: Step, x: AnyArray) -> AnyArray:
    """Between depth and space; a constant tensor stays one."""
    if all(n == 1 for n in x.shape[1:]):
        return x
    size, depth = step["blocksize"], step.name == "onnx.DepthToSpace"
    x = _in_full(step, x, (1, 2, 3))
    n, c, h, w = x.shape
    if not depth:
        cut = x.reshape(n, c, h // size, size, w // size, size)
        return cut.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * size**2, h // size, w // size)
    if step.arguments.get("mode", "DCR") == "DCR":
        cut = x.reshape(n, size, size, c // size**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        cut = x.reshape(n, c // size**2, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    return cut.reshape(n, c // size**2, h * size, w * size)


def _amounts(step: Step) -> list[tuple[int, int]]:
    """Entries added before and after every axis."""
    rank = len(first_operand(step).shape)
    pads, axes = [int(n) for n in setting(step, "pads")], setting(step, "axes")
    axes = range(rank) if axes is None else [int(a) % rank for a in axes]
    found = [(0, 0)] * rank
    half = len(pads) // 2
    for axis, before, after in zip(axes, pads[:half], pads[half:], strict=True):
        found[axis] = before, after
    return found


def _constant(step: Step) -> float:
    """What is padded with; 0 for infinity too, which goes with any scale as 0 does."""
    value = setting(step, "constant_value", "value")
    number = 0.0 if value is None else float(np.asarray(value).reshape(-1)[0])
    return number if math.isfinite(number) else 0.0


def _cut(x: AnyArray, amounts: Sequence[tuple[int, int]]) -> AnyArray:
    """Without what negative amounts take away."""
    return x[
        tuple(slice(-min(b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, amounts, strict=True))
    ]


def _padded(x: AnyArray, amounts: Sequence[tuple[int, int]], value: float) -> AnyArray:
    more = [(max(b, 0), max(a, 0)) for b, a in amounts]
    found: AnyArray = np.pad(_cut(x, amounts), more, constant_values=value)
    return found


def _copying_pad(step: Step, x: AnyArray) -> AnyArray:
    mode = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}.get(step["mode"])
    if mode is None:
        raise NoRule(f"its mode is '{step['mode']}'")
    amounts = _amounts(step)
    held = [p if n > 1 else (0, 0) for p, n in zip(amounts, x.shape, strict=True)]
    more = [(max(b, 0), max(a, 0)) for b, a in held]
    return np.pad(_cut(x, held), more, mode=mode)  # type: ignore[call-overload, no-any-return]


def _gathered() -> Rule:
    """Entries at constant places; rows of a table of weights at places that the input decides."""
    move = moves(_gather, "data")

    def is_table(scales: Scales | Lift, step: Step) -> bool:
        weight, places = step["data"], step["indices"]
        decided = isinstance(places, Value) and not scales.is_static(places)
        matrix = len(weight.shape) == 2 and step["axis"] % 2 == 0
        return decided and matrix and scales.is_static(weight)

    def scale(scales: Scales, step: Step) -> Ids | Sequence[Ids]:
        return (TABLE if is_table(scales, step) else move).scale(scales, step)

    def lift(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
        return (TABLE if is_table(lift, step) else move).lift(lift, step)

    return Rule(scale, lift, move.move, move.moved)


_COPYING_PAD = moves(_copying_pad, "data")


def _pad_scale(scales: Scales, step: Step) -> Ids | Sequence[Ids]:
    """Zeros go with any scale: on stored axes they get their own. Other constants have scale 1."""
    if step["mode"] != "constant":
        return _COPYING_PAD.scale(scales, step)
    ids, amounts, constant = scales[step["data"]], _amounts(step), _constant(step)
    if constant:
        ids = expanded(ids, step["data"].shape, [a for a, p in enumerate(amounts) if any(p)])
    held = [p if n > 1 or constant else (0, 0) for p, n in zip(amounts, ids.shape, strict=True)]
    padded = _padded(ids, held, 0 if constant else -1)
    empty = padded < 0
    padded[empty] = scales.free(step, int(empty.sum()))
    return padded


def _pad_lift(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
    if step["mode"] != "constant":
        return _COPYING_PAD.lift(lift, step)
    amounts, constant = _amounts(step), _constant(step)
    x = lift.full(step["data"], [a for a, p in enumerate(amounts) if any(p)])
    shape = x.value.shape
    back = [(-b, -a) for b, a in amounts]
    padded = x.map(
        lambda t: _padded(t, amounts, 0.0), lambda gradient: _padded(gradient, back, 0.0)
    )
    if not constant:
        return padded
    return lift.tape.add([padded, lift.squared(_padded(np.zeros(shape), amounts, constant))])


def _converts_floats(step: Step) -> bool:
    values: list[Value] = [first_operand(step), step.outputs[0]]
    return all(np.issubdtype(v.dtype, np.floating) for v in values)


SAME = moves(lambda _, x: x, "input")
NEGATIVE = moves(lambda _, x: x, "X")
CAST = only_if(_converts_floats, "it converts to or from integers", SAME)
RESHAPE = moves(_reshape, "data")
FLATTEN = moves(_reshape, "input")
TRANSPOSE = moves(_transpose, "data")
EXPAND = moves(_expand, "input")
SLICE = moves(_slice, "data")
SPLIT = moves(_split, "input")
GATHER = _gathered()
TILE = moves(_tile, "input")
BLOCKS = moves(_blocks, "input")
PAD = Rule(_pad_scale, _pad_lift)
