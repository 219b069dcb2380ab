"""Rules of pooling, reductions and interpolation: one matrix per axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..engine.facts import Ids
from ..engine.program import Step, Value
from ..engine.rule import NoRule
from .layers import paddings
from .rule import AnyArray, Rule, first_operand, setting
from .tape import Array, Linear, Scaled

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = [
    "AVERAGE_POOL",
    "EXTREMUM",
    "GLOBAL_AVERAGE",
    "GLOBAL_MAX",
    "INTERPOLATION",
    "MAX_POOL",
    "MEAN",
    "SUM",
]


def _windows(n: int, out: int, kernel: int, stride: int, before: int, dilation: int) -> Array:
    """Row o holds a one for every input position in window o; shape (out, n)."""
    start = np.arange(out) * stride - before
    taps = start[:, None] + np.arange(kernel) * dilation
    found: Array = (taps[..., None] == np.arange(n)).sum(1).astype(np.float64)
    return found


def _along(axis: int, matrix: Array) -> Linear:
    """matrix @ x along one axis."""
    return lambda x: np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis)


def _apply(lift: Lift, value: Value, matrices: dict[int, Array]) -> Scaled:
    """A lifted value with a matrix (out, in) applied along each of these axes."""
    x = lift.full(value, matrices)
    for axis, matrix in matrices.items():
        x = x.map(_along(axis, matrix), _along(axis, matrix.T))
    return x


def _spatial(scales: Scales, step: Step) -> Ids:
    x = first_operand(step)
    return scales.uniform(scales[x], range(2, len(x.shape)))


def _pool(average: bool) -> Rule:
    def scale(scales: Scales, step: Step) -> Ids:
        if len(step.outputs) > 1:
            raise NoRule("the places of the largest entries are asked for")
        return _spatial(scales, step)

    def lift(lift: Lift, step: Step) -> Scaled:
        x = step["X"]
        sizes, out = x.shape[2:], step.outputs[0].shape[2:]
        kernel = list(step["kernel_shape"])
        strides = list(step["strides"] or [1] * len(sizes))
        dilations = list(step.arguments.get("dilations") or [1] * len(sizes))
        extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        before, after = paddings(step, sizes, out, extents, strides)
        matrices = {}
        for i, (n, m) in enumerate(zip(sizes, out, strict=True)):
            lain = (kernel[i], strides[i], before[i], dilations[i])
            matrix = _windows(n, m, *lain)
            if average and not lift.counts:
                # A window that hangs over the padded input (ceil_mode) counts what is inside it.
                padded = _windows(
                    before[i] + n + after[i], m, kernel[i], strides[i], 0, dilations[i]
                )
                counted = padded if step["count_include_pad"] else matrix
                matrix = matrix / counted.sum(1, keepdims=True) ** 2
            matrices[i + 2] = matrix
        return _apply(lift, x, matrices)

    return Rule(scale, lift)


def _reduced_axes(step: Step) -> list[int]:
    rank = len(first_operand(step).shape)
    if step.name.startswith("onnx.Global"):
        return list(range(2, rank))
    axes = setting(step, "axes")
    if axes is None or len(axes) == 0:
        return [] if step.arguments.get("noop_with_empty_axes") else list(range(rank))
    return [int(a) % rank for a in axes]


def _reduction(average: bool) -> Rule:
    """Every path through the entries exists; each is taken by 1/n² if they are averaged."""

    def squeeze(step: Step, x: AnyArray) -> AnyArray:
        if step.arguments.get("keepdims", 1):
            return x
        return x.squeeze(tuple(_reduced_axes(step)))

    def scale(scales: Scales, step: Step) -> Ids:
        return squeeze(step, scales.uniform(scales[first_operand(step)], _reduced_axes(step)))

    def lift(lift: Lift, step: Step) -> Scaled:
        value, axes = first_operand(step), tuple(_reduced_axes(step))
        x = lift[value]
        held = x.value.shape
        count = math.prod(value.shape[a] for a in axes)
        factor = count / math.prod(held[a] for a in axes)
        factor /= count**2 if average and not lift.counts else 1
        kept = [1 if a in axes else n for a, n in enumerate(held)]
        return x.map(
            lambda t: squeeze(step, t.sum(axes, keepdims=True) * factor if axes else t),
            lambda gradient: np.broadcast_to(gradient.reshape(kept) * factor, held),
        )

    return Rule(scale, lift)


def _interpolation_scale(scales: Scales, step: Step) -> Ids:
    mode = step["mode"]
    if mode not in ("nearest", "linear", "cubic"):
        raise NoRule(f"its mode is '{mode}'")
    if step.arguments.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise NoRule("it crops")
    if step.arguments.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NoRule("its policy is not 'stretch'")
    for name in ("scales", "sizes"):
        setting(step, name)
    x = first_operand(step)
    return scales.uniform(scales[x], _resized(step))


def _resized(step: Step) -> list[int]:
    x = first_operand(step)
    sizes = zip(x.shape, step.outputs[0].shape, strict=True)
    return [a for a, (n, m) in enumerate(sizes) if n != m]


def _response(lift: Lift, step: Step, axis: int) -> Array:
    """The map along one axis, (out, in): the operator's own response to each unit vector."""
    x = first_operand(step)
    n, m = x.shape[axis], step.outputs[0].shape[axis]
    sizes, factors, axes = (setting(step, name) for name in ("sizes", "scales", "axes"))
    own = axis if axes is None else [int(a) % len(x.shape) for a in axes].index(axis)
    node = onnx.NodeProto()
    node.CopyFrom(step.op)
    node.ClearField("input")
    kept = [attribute for attribute in node.attribute if attribute.name != "axes"]
    node.ClearField("attribute")
    node.attribute.extend(kept)
    operands: list[AnyArray | None] = [np.eye(n), None, None, np.array([n, m], np.int64)]
    node.input.extend(["X", "", "", "sizes"])
    if sizes is None or len(sizes) == 0:
        operands = [np.eye(n), None, np.array([1.0, factors[own]], np.float32)]
        del node.input[:]
        node.input.extend(["X", "", "scales"])
    return lift.network.operators.run(node, operands)[0].T.astype(np.float64)


def _interpolation_lift(lift: Lift, step: Step) -> Scaled:
    """A linear map per axis, its weights squared."""
    matrices = {axis: np.square(_response(lift, step, axis)) for axis in _resized(step)}
    return _apply(lift, first_operand(step), matrices)


MAX_POOL = _pool(average=False)
AVERAGE_POOL = _pool(average=True)
GLOBAL_AVERAGE = MEAN = _reduction(average=True)
GLOBAL_MAX = EXTREMUM = SUM = _reduction(average=False)
INTERPOLATION = Rule(_interpolation_scale, _interpolation_lift)
