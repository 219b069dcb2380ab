"""Rules of operators that move entries: shapes, slices, shuffles, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from . import compressed
from .program import Step, Value
from .repeats import Repeat
from .rule import NoRule, Rule, moves, only_if, picks

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = [
    "CHANNELS",
    "COPY",
    "DIAGONAL",
    "EXPAND",
    "IM2COL",
    "INDEX",
    "MATRIX_TRANSPOSE",
    "ONE_AXIS",
    "PAD",
    "PERMUTE",
    "PIXELS",
    "REPEAT",
    "RESHAPE",
    "SAME",
    "SELECT",
    "SOME_AXES",
    "TRANSPOSE",
    "UNFOLD",
]


def _reshape(step: Step, x: Tensor) -> Tensor:
    return compressed.reshape(x, step["self"].shape, step.outputs[0].shape)


def _keeps_dtype(step: Step) -> bool:
    return bool(step["self"].dtype == step.outputs[0].dtype)


def _as_list(axes: Any) -> list[int]:
    return [axes] if isinstance(axes, int) else list(axes)


def _one_axis(step: Step) -> list[int]:
    if step["dim"] is None:
        raise NoRule("it flattens its input")
    return [step["dim"]]


def _some_axes(step: Step) -> list[int]:
    axes = _as_list(step["dims"])
    return axes or list(range(len(step["self"].shape)))


def _repeat(step: Step, x: Tensor) -> Tensor:
    counts = list(step["repeats" if "repeats" in step.arguments else "dims"])
    shape, rank = step["self"].shape, len(step.outputs[0].shape)
    counts = [1] * (rank - len(counts)) + counts
    x = compressed.lead(x, rank)
    shape = (1,) * (rank - len(shape)) + tuple(shape)
    stored = [n if s > 1 else 1 for n, s in zip(counts, x.shape, strict=True)]
    return x.repeat(stored)


def _indexed_axes(step: Step) -> list[int]:
    axes = [axis for axis, index in enumerate(step["indices"]) if index is not None]
    for axis in axes:
        if isinstance(step["indices"][axis], Value):
            raise NoRule("its index is not a constant")
    return axes


def _selected_axes(step: Step) -> list[int]:
    if isinstance(step["index"], Value):
        raise NoRule("its index is not a constant")
    return [step["dim"]]


def _index(step: Step, x: Tensor) -> Tensor:
    """Advanced indexing on the stored axes; those it does not touch stay compressed."""
    axes = _indexed_axes(step)
    full = compressed.expand(x, step["self"].shape, axes)
    result = step.call({step["self"].index: full})
    assert isinstance(result, Tensor)
    return result


def _padded_axes(step: Step) -> list[int]:
    """Axes that get or lose entries, last first, as `pad` lists them."""
    pad = step["pad" if "pad" in step.arguments else "padding"]
    return [-1 - k for k in range(len(pad) // 2) if pad[2 * k] or pad[2 * k + 1]]


def _pads_a_constant(step: Step) -> bool:
    return step.arguments.get("mode", "constant") == "constant" and "padding" not in step.arguments


def _constant(step: Step) -> float:
    """What is padded with; 0 for infinity too, which goes with any scale as 0 does."""
    value = float(step["value"] or 0.0)
    return value if math.isfinite(value) else 0.0


_COPYING_PAD = picks(_padded_axes)


def _pad_scale(scales: Scales, step: Step) -> Tensor | Sequence[Tensor]:
    """Zeros go with any scale: on stored axes they get their own. Other constants have scale 1."""
    if not _pads_a_constant(step):
        return _COPYING_PAD.scale(scales, step)
    ids, axes, constant = scales[step["self"]], _padded_axes(step), _constant(step)
    if constant:
        ids = compressed.expand(ids, step["self"].shape, axes)
    amounts = [0] * (2 * ids.dim())
    for axis in axes:
        if ids.shape[axis] > 1 or constant:
            for side in (0, 1):
                amounts[2 * (-1 - axis) + side] = step["pad"][2 * (-1 - axis) + side]
    padded = functional.pad(ids, amounts, value=0 if constant else -1)
    empty = padded < 0
    missing = int(empty.sum())
    if missing:
        padded = padded.masked_scatter(empty, scales.free(step, missing))
    return padded


def _pad_lift(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
    if not _pads_a_constant(step):
        return _COPYING_PAD.lift(lift, step)
    value, pad, constant = step["self"], list(step["pad"]), _constant(step)
    axes = [axis % len(value.shape) for axis in _padded_axes(step)]
    if constant or min(pad) < 0:
        full = lift.full(value, axes)
        padded = full.map(lambda t: functional.pad(t, pad))
        if not constant:
            return padded
        frame = functional.pad(torch.zeros_like(full.value), pad, value=constant)
        return padded + lift.squared(frame)
    x = lift.stored(value)
    repeats = dict(x.repeats)
    for axis in axes:
        n = value.shape[axis]
        repeat = repeats.get(axis) or (Repeat(0, n) if x.value.shape[axis] == 1 < n else None)
        if repeat is not None:
            before = pad[2 * (len(value.shape) - 1 - axis)]
            repeats[axis] = Repeat(repeat.at + before, repeat.count)
    return x.map(lambda t: functional.pad(t, pad)).with_repeats(repeats)


def _unfold_scale(scales: Scales, step: Step) -> Tensor | Sequence[Tensor]:
    if any(step["padding"]):
        raise NoRule("it pads")
    return _IM2COL.scale(scales, step)


_IM2COL = picks(lambda step: range(-3, 0))

SAME = moves(lambda _, x: x)
RESHAPE = only_if(_keeps_dtype, "it reads the bits as another dtype", moves(_reshape))
EXPAND = moves(lambda step, x: compressed.lead(x, len(step.outputs[0].shape)))
COPY = only_if(
    lambda step: bool(step["src"].dtype == step["self"].dtype),
    "it converts between dtypes",
    moves(lambda step, x: compressed.lead(x, len(step.outputs[0].shape)), "src"),
)
PERMUTE = moves(lambda step, x: x.permute(step["dims"]))
MATRIX_TRANSPOSE = moves(lambda _, x: x.t())
TRANSPOSE = moves(lambda step, x: x.transpose(step["dim0"], step["dim1"]))
REPEAT = moves(_repeat)
ONE_AXIS = picks(_one_axis)
SELECT = picks(_selected_axes)
SOME_AXES = picks(_some_axes)
INDEX = moves(_index)
DIAGONAL = picks(lambda step: [step["dim1"], step["dim2"]])
UNFOLD = picks(lambda step: [step["dimension"]])
IM2COL = Rule(_unfold_scale, _IM2COL.lift)
PIXELS = picks(lambda step: range(-3, 0))
CHANNELS = picks(lambda step: [1])
PAD = Rule(_pad_scale, _pad_lift)
