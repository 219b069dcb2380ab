"""Rules of pooling and of reductions.

The lifted form of every pooling is one matrix of windows per spatial axis, applied along that axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .program import Step, Value
from .repeats import Repeat, through_matrix
from .rule import NoRule, Rule

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = [
    "CUMULATIVE_SUM",
    "EXTREMUM",
    "MEAN",
    "SUM",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "apply_matrices",
    "average_pool",
    "max_pool",
    "per_axis",
]


def per_axis(argument: Any, rank: int, default: Any = None) -> list[Any]:
    """An argument that may be given once for all axes, for each of them."""
    values = default if argument is None or argument == [] else argument
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return values * rank if len(values) == 1 else values


def _windows(n: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Row o holds a one for every input position in window o; shape (out, n)."""
    start = torch.arange(out) * stride - padding
    taps = (start[:, None] + torch.arange(kernel) * dilation).unsqueeze(-1)
    return (taps == torch.arange(n)).sum(1).double()


def _adaptive_windows(n: int, out: int) -> Tensor:
    o = torch.arange(out)
    start, stop = o * n // out, ((o + 1) * n + out - 1) // out
    i = torch.arange(n)
    return ((i >= start[:, None]) & (i < stop[:, None])).double()


def _apply_along(matrix: Tensor, axis: int, x: Tensor) -> Tensor:
    """matrix @ x along one axis."""
    return (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def apply_matrices(lift: Lift, value: Value, matrices: dict[int, Tensor]) -> Scaled:
    """A lifted value with a matrix (out, in) applied along each of these axes."""
    x = lift.stored(value)
    repeats = dict(x.repeats)
    for axis, matrix in matrices.items():
        repeat = repeats.pop(axis, None)
        if repeat is None and x.value.shape[axis] == 1 < value.shape[axis]:
            repeat = Repeat(0, value.shape[axis])
        if repeat is not None:
            matrix, out = through_matrix(matrix, repeat)
            if out is not None:
                repeats[axis] = out
        x = x.map(partial(_apply_along, matrix.to(x.value), axis))
    return x.with_repeats(repeats)


def _pool(rank: int, matrices: Callable[[Step, list[int], list[int]], list[Tensor]]) -> Rule:
    def scale(scales: Scales, step: Step) -> Tensor:
        x = step["self"]
        return scales.uniform(scales[x], range(len(x.shape) - rank, len(x.shape)))

    def lift(lift: Lift, step: Step) -> Scaled:
        x = step["self"]
        axes = range(len(x.shape) - rank, len(x.shape))
        sizes = [list(v.shape[-rank:]) for v in (x, step.outputs[0])]
        return apply_matrices(lift, x, dict(zip(axes, matrices(step, *sizes), strict=True)))

    return Rule(scale, lift)


def _max_windows(step: Step, sizes: list[int], out_sizes: list[int]) -> list[Tensor]:
    rank = len(sizes)
    kernel = per_axis(step["kernel_size"], rank)
    stride = per_axis(step["stride"], rank, kernel)
    padding, dilation = per_axis(step["padding"], rank), per_axis(step["dilation"], rank)
    return [
        _windows(*a) for a in zip(sizes, out_sizes, kernel, stride, padding, dilation, strict=True)
    ]


def _average_windows(step: Step, sizes: list[int], out_sizes: list[int]) -> list[Tensor]:
    """Window sums over the squared number of entries the average divides by.

    That number is a product over the axes unless `divisor_override` gives it outright.
    """
    rank = len(sizes)
    kernel = per_axis(step["kernel_size"], rank)
    stride = per_axis(step["stride"], rank, kernel)
    padding = per_axis(step["padding"], rank)
    divisor = step.arguments.get("divisor_override")
    matrices = []
    for n, out, k, s, p in zip(sizes, out_sizes, kernel, stride, padding, strict=True):
        windows = _windows(n, out, k, s, p, 1)
        # A window that hangs over the padded input (ceil_mode) counts only what is inside it.
        padded = _windows(n + 2 * p, out, k, s, 0, 1)
        counted = padded if step["count_include_pad"] else windows
        count = counted.sum(1, keepdim=True)
        matrices.append(windows if divisor else windows / count**2)
    if divisor:
        matrices[0] = matrices[0] / divisor**2
    return matrices


def _adaptive_max_windows(_: Step, sizes: list[int], out_sizes: list[int]) -> list[Tensor]:
    return [_adaptive_windows(n, out) for n, out in zip(sizes, out_sizes, strict=True)]


def _adaptive_average_windows(_: Step, sizes: list[int], out_sizes: list[int]) -> list[Tensor]:
    windows = [_adaptive_windows(n, out) for n, out in zip(sizes, out_sizes, strict=True)]
    return [w / w.sum(1, keepdim=True) ** 2 for w in windows]


def _reduced_axes(step: Step) -> list[int]:
    if "other" in step.arguments:
        raise NoRule("it has two operands")
    rank = len(step["self"].shape)
    axes = step.arguments.get("dim")
    if axes is None or axes == []:
        return list(range(rank))
    return [a % rank for a in (axes if isinstance(axes, (list, tuple)) else [axes])]


def _reduction(average: bool) -> Rule:
    def squeeze(step: Step, x: Tensor) -> Tensor:
        if step.arguments.get("keepdim"):
            return x
        axes = _reduced_axes(step)
        return x.reshape([n for a, n in enumerate(x.shape) if a not in axes])

    def scale(scales: Scales, step: Step) -> Tensor:
        return squeeze(step, scales.uniform(scales[step["self"]], _reduced_axes(step)))

    def lift(lift: Lift, step: Step) -> Scaled:
        axes, x = _reduced_axes(step), step["self"]
        count = math.prod(x.shape[a] for a in axes)
        stored = math.prod(lift[x].value.shape[a] for a in axes)
        factor = count / stored / (count**2 if average else 1)

        def reduce(t: Tensor) -> Tensor:
            return squeeze(step, t.sum(axes, keepdim=True) * factor if axes else t)

        return lift[x].map(reduce)

    return Rule(scale, lift)


def _cumulative_scale(scales: Scales, step: Step) -> Tensor:
    x = step["self"]
    return scales.uniform(scales[x], [step["dim"] % len(x.shape)])


def _cumulative_lift(lift: Lift, step: Step) -> Scaled:
    x = step["self"]
    axis = step["dim"] % len(x.shape)
    return lift.full(x, [axis]).map(lambda t: t.cumsum(axis))


def max_pool(rank: int) -> Rule:
    """Every path through a window exists: the sum over it."""
    return _pool(rank, _max_windows)


def average_pool(rank: int) -> Rule:
    """The sum over the window, over the squared number of entries."""
    return _pool(rank, _average_windows)


def adaptive_max_pool(rank: int) -> Rule:
    """As max pooling, on windows that follow from the sizes."""
    return _pool(rank, _adaptive_max_windows)


def adaptive_average_pool(rank: int) -> Rule:
    """As average pooling, on windows that follow from the sizes."""
    return _pool(rank, _adaptive_average_windows)


EXTREMUM = _reduction(average=False)
MEAN = _reduction(average=True)
SUM = _reduction(average=False)
CUMULATIVE_SUM = Rule(_cumulative_scale, _cumulative_lift)
