"""Scaling arrays on a CUDA device: addresses and factors go to the core, entries stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.device import called_on, dtype_name, reason_against
from pathcond_native.device_arrays import DeviceArray, package_of

__all__ = ["Scaling", "scale_on_device", "scaling"]

_AXES = 3  # that the core knows
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_ONE = np.ones(())

Steps = tuple[int, ...]
"""From one entry's factor to the next one's, along every axis."""


@dataclass(frozen=True)
class Scaling:
    """An array on a device, its axes as they lie in memory, and what it is multiplied by."""

    array: DeviceArray
    shape: tuple[int, ...]
    factors: tuple[tuple[npt.NDArray[np.float64], Steps], ...]


def scaling(array: DeviceArray, factors: Sequence[npt.NDArray[np.float64]]) -> Scaling | None:
    """How the core would scale an array in place; None where it cannot.

    That is: where the build cannot use the array's device, where its dtype is not float16,
    bfloat16, float32 or float64, where it has gaps, or where factors vary along more than three
    axes.

    Args:
        array: on a device, of any shape that is not empty.
        factors: one or two, each of the array's rank and broadcasting to its shape.
    """
    package = package_of(array)
    if dtype_name(array) not in _DTYPES or reason_against(package.device_and_stream(array)[0]):
        return None
    strides = package.strides(array)
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    order = [axis for axis in order if array.shape[axis] > 1]
    expected = 1
    for axis in reversed(order):
        if strides[axis] != expected:
            return None
        expected *= array.shape[axis]

    both = [x.reshape(-1) for x in factors]
    steps = [[_step(x.shape, axis) for axis in order] for x in factors]
    if len(both) == 1:
        both.append(_ONE.reshape(-1))
        steps.append([0] * len(order))
    axes: list[tuple[int, Steps]] = []
    for axis, of_axis in zip(order, zip(*steps, strict=True), strict=True):
        size = array.shape[axis]
        if axes and axes[-1][1] == tuple(size * step for step in of_axis):
            size *= axes.pop()[0]  # both act as one
        axes.append((size, of_axis))
    if len(axes) > _AXES:
        return None
    axes = [(1, (0, 0))] * (_AXES - len(axes)) + axes
    shape, steps_of_axes = zip(*axes, strict=True)
    placed = zip(both, zip(*steps_of_axes, strict=True), strict=True)
    return Scaling(array, shape, tuple(placed))


def _step(shape: Sequence[int], axis: int) -> int:
    return math.prod(shape[axis + 1 :]) if shape[axis] > 1 else 0


def scale_on_device(scalings: Sequence[Scaling]) -> list[tuple[int, int]]:
    """Scale arrays of one package on one device in place, all in one launch.

    Every entry is multiplied in float64 and rounded once; to 16 bits by way of float32, as torch
    does it. Runs on the current stream of the device, and waits for it.

    Returns:
        Of each array, how many entries are not finite, and how many shrank to less than the
        smallest normal number.

    Raises:
        DeviceMemoryError: the device has too little memory; nothing has been changed.
        DeviceError: the CUDA runtime failed; some arrays may be changed.
    """
    parameters: list[Any] = []
    numbers: list[npt.NDArray[np.float64]] = []
    count = 0
    for x in scalings:
        places = []
        for values, steps in x.factors:
            places.append((count, steps))
            numbers.append(values)
            count += len(values)
        address = package_of(x.array).address(x.array)
        parameters.append((address, dtype_name(x.array), x.shape, *places))
    with called_on(scalings[0].array) as call:
        return _core.scale_on_device(parameters, np.concatenate(numbers), **call)
