"""g on a CUDA device, torch tensors and CuPy arrays: addresses go to the core, never entries.

Neither package is imported here unless an array of it has been given.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.arrays import Framework
from pathcond_native.errors import DeviceError, DeviceMemoryError, InvalidInputError

__all__ = ["alike", "copied", "on_device", "read_on_device", "solve_on_device"]

DeviceArray = Any
"""A torch tensor or a CuPy array on a device."""

View = tuple[DeviceArray, npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""A part of g as (k, e, l, s, r), and the neurons that it enters and leaves."""


class _Package(Protocol):
    """What differs between the packages that g may come from."""

    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, Framework]:
        """See `read_on_device`; the number of axes is checked there."""

    def widened(self, x: DeviceArray) -> DeviceArray:
        """The array in float64."""

    def copied(self, x: DeviceArray) -> DeviceArray:
        """A copy on the same device."""

    def place(self, x: DeviceArray) -> str:
        """The array's device, for a message."""

    def address(self, x: DeviceArray) -> int:
        """Of the first entry."""

    def strides(self, x: DeviceArray) -> tuple[int, ...]:
        """In entries."""

    def device_and_stream(self, x: DeviceArray) -> tuple[int, int]:
        """The array's device, and the address of the current stream there."""

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        """Bytes on the array's device, or on the host for copies: who owns them, and where."""


class _Torch:
    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, Framework]:
        torch = sys.modules["torch"]
        if g.layout != torch.strided:
            raise InvalidInputError(f"{name}: expected a dense tensor, got layout {g.layout}")
        if g.is_complex():
            raise InvalidInputError(f"{name}: expected real numbers, got dtype {g.dtype}")
        g = g.detach().resolve_neg()
        if g.dtype not in (torch.float32, torch.float64, torch.bfloat16):
            g = g.to(torch.float32 if g.dtype == torch.float16 else torch.float64)
        return g, Framework(torch_device=g.device)

    def widened(self, x: DeviceArray) -> DeviceArray:
        return x.double()

    def copied(self, x: DeviceArray) -> DeviceArray:
        return x.clone()

    def place(self, x: DeviceArray) -> str:
        return str(x.device)

    def address(self, x: DeviceArray) -> int:
        return int(x.data_ptr())

    def strides(self, x: DeviceArray) -> tuple[int, ...]:
        return tuple(x.stride())

    def device_and_stream(self, x: DeviceArray) -> tuple[int, int]:
        stream = sys.modules["torch"].cuda.current_stream(x.device)
        return int(stream.device_index), int(stream.cuda_stream)

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        torch = sys.modules["torch"]
        where = {"device": like.device} if device else {"pin_memory": True}
        try:
            memory = torch.empty(size, dtype=torch.uint8, **where)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(str(error)) from error
        return memory, int(memory.data_ptr())


class _CuPy:
    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, Framework]:
        if g.dtype.kind not in "biuf":
            raise InvalidInputError(f"{name}: expected real numbers, got dtype {g.dtype}")
        if g.dtype not in (np.float32, np.float64):
            g = g.astype(np.float32 if g.dtype == np.float16 else np.float64)
        return g, Framework(cupy_device=g.device.id)

    def widened(self, x: DeviceArray) -> DeviceArray:
        return x.astype(np.float64)

    def copied(self, x: DeviceArray) -> DeviceArray:
        return x.copy()

    def place(self, x: DeviceArray) -> str:
        return f"CuPy device {x.device.id}"

    def address(self, x: DeviceArray) -> int:
        return int(x.data.ptr)

    def strides(self, x: DeviceArray) -> tuple[int, ...]:
        return tuple(stride // x.itemsize for stride in x.strides)

    def device_and_stream(self, x: DeviceArray) -> tuple[int, int]:
        cuda = sys.modules["cupy"].cuda
        with cuda.Device(x.device.id):
            return int(x.device.id), int(cuda.get_current_stream().ptr)

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        cuda = sys.modules["cupy"].cuda
        try:
            with cuda.Device(like.device.id):
                memory = cuda.alloc(size) if device else cuda.alloc_pinned_memory(size)
        except cuda.memory.OutOfMemoryError as error:
            raise DeviceMemoryError(str(error)) from error
        return memory, int(memory.ptr)


def on_device(x: object) -> bool:
    """Whether x is a torch tensor or a CuPy array on a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return bool(x.is_cuda)
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def _package(x: DeviceArray) -> _Package:
    torch = sys.modules.get("torch")
    return _Torch() if torch is not None and isinstance(x, torch.Tensor) else _CuPy()


def read_on_device(g: DeviceArray, name: str = "g") -> tuple[DeviceArray, Framework]:
    """One-dimensional real data, left on its device, as float32, float64 or bfloat16."""
    if g.ndim != 1:
        raise InvalidInputError(f"{name}: expected a 1-D array, got shape {tuple(g.shape)}")
    return _package(g).read(g, name)


def copied(x: DeviceArray) -> DeviceArray:
    """A copy on the same device."""
    return _package(x).copied(x)


def alike(parts: Sequence[DeviceArray]) -> list[DeviceArray]:
    """Parts of g in one dtype.

    Raises:
        InvalidInputError: they are not all on one device.
    """
    places: dict[str, int] = {}
    for i, part in enumerate(parts):
        places.setdefault(_package(part).place(part) if on_device(part) else "the host", i)
    if len(places) > 1:
        listed = ", ".join(f"g[{i}] on {place}" for place, i in places.items())
        raise InvalidInputError(f"g: expected all arrays on one device, got {listed}")
    if len({part.dtype for part in parts}) == 1:
        return list(parts)
    return [_package(part).widened(part) for part in parts]


_status = cache(_core.cuda_status)


def solve_on_device(
    neurons: int, views: Sequence[View], options: dict[str, Any]
) -> _core.Solution | None:
    """The solution with weights that stay on the device; None where only the host can find it.

    That is: where `_core.solve_panels` has none either, for irregular tensors beside others between
    the same groups of neurons, and, with a warning, where this build cannot use the device. Method
    "cd" brings the merged weights to the host where neighbours follow each other too often for
    steps of many neurons, or numbers come near the end of their range. Runs on the current stream of the device that g is on, and waits for it where a
    number per neuron is needed.

    Raises:
        DeviceMemoryError: the device has too little memory; nothing has been changed.
        DeviceError: the CUDA runtime failed; nothing has been changed.
    """
    state, detail = _status()
    if state != "ready":
        reason = f"CUDA: {state}" + (f", {detail}" if detail else "")
        warnings.warn(f"g is copied from its device to the host ({reason})", stacklevel=5)
        return None
    first = views[0][0]
    package = _package(first)
    parts = [
        (package.address(view), tuple(view.shape), package.strides(view), entered, left)
        for view, entered, left in views
    ]
    memory: list[object] = []  # lives as long as the solve

    def allocate(size: int, device: bool) -> int:
        owner, address = package.allocate(first, size, device)
        memory.append(owner)
        return address

    dtype = str(first.dtype).removeprefix("torch.")
    device, stream = package.device_and_stream(first)
    try:
        return _core.solve_on_device(
            neurons, dtype, parts, allocate, device=device, stream=stream, **options
        )
    except _core.DeviceError as error:
        raise DeviceError(str(error)) from None
