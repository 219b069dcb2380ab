"""Solving on a CUDA device: addresses of g, and of B, go to the core, never entries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.device_arrays import (
    Columns,
    DeviceArray,
    copied,
    matrix_on_device,
    package_of,
)
from pathcond_native.errors import DeviceError, InvalidInputError
from pathcond_native.frameworks import DeviceFramework

__all__ = [
    "DeviceIncidence",
    "called_on",
    "dtype_name",
    "incidence_on_device",
    "product_on_device",
    "reason_against",
    "solve_by_columns",
    "solve_on_device",
]

View = tuple[DeviceArray, npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""A part of g as (k, e, l, s, r), and the neurons that it enters and leaves."""


@dataclass(frozen=True)
class DeviceIncidence:
    """B (p, H) on a device."""

    matrix: Any
    """As it was given."""
    parts: Columns

    @property
    def columns(self) -> int:
        """H."""
        return int(self.matrix.shape[1])


def incidence_on_device(B: Any, g: DeviceArray) -> DeviceIncidence | None:
    """B where it lies, for g on a device; None where that is the host, or only the host reads it.

    Raises:
        InvalidInputError: B and g are on different devices, or their sizes do not fit.
    """
    package = package_of(g)
    if not matrix_on_device(B) or type(package_of(B)) is not type(package):
        return None
    if (parts := package.columns(B)) is None or len(parts[0]) != B.shape[1] + 1:
        return None
    places = [package.place(x) for x in (parts[2], g)]
    if places[0] != places[1]:
        raise InvalidInputError(
            f"B, g: expected both on one device, got B on {places[0]} and g on {places[1]}"
        )
    if B.shape[0] != len(g):
        raise InvalidInputError(
            f"g: expected one entry per row of B, which has {B.shape[0]}, got {len(g)}"
        )
    return DeviceIncidence(B, parts)


def product_on_device(
    incidence: Any, u: DeviceArray, framework: DeviceFramework
) -> DeviceArray | None:
    """B u, float64 (p,), on u's device, by B there or a `Graph`; None where only the host can."""
    if isinstance(incidence, DeviceIncidence):
        return package_of(u).product(incidence.matrix, incidence.parts, u)
    panels = getattr(incidence, "panels", None)
    if panels is None:
        return None
    v = framework.zeros(incidence.shape[0])
    steps = np.append(framework.to_numpy(u), 0.0)  # -1 stands for none
    for rows, panel in panels:
        entered, left = (framework.from_numpy(steps[x]) for x in (panel.entered, panel.left))
        places = panel.view(framework.arange(rows.start, rows.stop))
        v[places] = (left[:, None, :] - entered[:, :, None])[..., None, None]
    return v


_known_status = cache(_core.cuda_status)


def _status(device: int) -> tuple[str, str]:
    state = _known_status(device)
    if state[0] == "failed":  # which may pass
        _known_status.cache_clear()
    return state


def solve_on_device(
    neurons: int, views: Sequence[View], options: dict[str, Any]
) -> _core.Solution | None:
    """The solution by tensors, which stay on the device; None where only the host can find it.

    That is: where g is invalid, and, with a warning, where this build cannot use the device.
    Merged weights are brought to the host where rows tell them, not tensors, and neurons form too
    many groups, or weights lie too far apart, for steps of many neurons. Method "cd" brings them
    there where neighbours follow each other too often for such steps, or numbers come near the end
    of their range.

    Runs on the current stream of the device that g is on, and waits for it where a number per
    neuron is needed.

    Raises:
        DeviceMemoryError: the device has too little memory; nothing has been changed.
        DeviceError: the CUDA runtime failed; nothing has been changed.
    """
    first = views[0][0]
    package = package_of(first)
    parts = [
        (package.address(view), tuple(view.shape), package.strides(view), entered, left)
        for view, entered, left in views
    ]
    return _solve((neurons, dtype_name(first), parts), first, options, stacklevel=7)


def solve_by_columns(
    incidence: DeviceIncidence, g: DeviceArray, options: dict[str, Any]
) -> _core.Solution | None:
    """The solution by columns of B; None where only the host can find it.

    That is: where a row of B has other values than -1, 0, +1 or two of one sign, where B is
    invalid, and as for `solve_on_device`.

    Raises:
        As `solve_on_device`.
    """
    package = package_of(g)
    if package.strides(g) != (1,):
        g = copied(g)
    arrays = (*incidence.parts, g)
    source = (
        *incidence.matrix.shape,
        min(map(len, incidence.parts[1:])),
        tuple(map(dtype_name, arrays[1:])),
        tuple(map(package.address, arrays)),
    )
    return _solve(source, g, options, stacklevel=6)


def _solve(
    source: Any, first: DeviceArray, options: dict[str, Any], *, stacklevel: int
) -> _core.Solution | None:
    device, _ = package_of(first).device_and_stream(first)
    if reason := reason_against(device):
        warnings.warn(f"g is copied from its device to the host ({reason})", stacklevel=stacklevel)
        return None
    with called_on(first) as call:
        return _core.solve_on_device(source, **call, **options)


def dtype_name(x: DeviceArray) -> str:
    """As the core calls it."""
    return str(x.dtype).removeprefix("torch.")


def reason_against(device: int) -> str | None:
    """Why this build cannot use a device; None if it can."""
    state, detail = _status(device)
    return None if state == "ready" else f"CUDA: {state}" + (f", {detail}" if detail else "")


@contextmanager
def called_on(like: DeviceArray) -> Iterator[dict[str, Any]]:
    """Arguments of a call of the core, on the device of an array and its current stream.

    What the call allocates is held until the block ends.
    """
    package = package_of(like)
    device, stream = package.device_and_stream(like)
    memory: list[object] = []

    def allocate(size: int, device: bool) -> int:
        owner, address = package.allocate(like, size, device)
        memory.append(owner)
        return address

    try:
        with package.current(like):
            yield {"allocate": allocate, "device": device, "stream": stream}
    except _core.DeviceError as error:
        raise DeviceError(str(error)) from None
    finally:
        memory.clear()  # an exception keeps this frame
