"""Arrays and matrices on a CUDA device, as torch and CuPy have them.

Neither package is imported here unless an array of it has been given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from pathcond_native.arrays import VALUE_DTYPES
from pathcond_native.errors import DeviceError, DeviceMemoryError, InvalidInputError
from pathcond_native.frameworks import CuPy, DeviceFramework, Torch, class_of, is_torch

__all__ = [
    "Columns",
    "DeviceArray",
    "alike",
    "copied",
    "matrix_on_device",
    "on_device",
    "package_of",
    "read_on_device",
]

DeviceArray = Any
"""A torch tensor or a CuPy array on a device."""

Columns = tuple[DeviceArray, DeviceArray, DeviceArray]
"""indptr, indices and values of compressed columns."""


class Package(Protocol):
    """What differs between the packages that g may come from."""

    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, DeviceFramework]:
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

    def current(self, x: DeviceArray) -> AbstractContextManager[object]:
        """Makes the array's device the current one, without a context on any other."""

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        """Bytes on the array's device, or on the host for copies: who owns them, and where."""

    def columns(self, B: Any) -> Columns | None:
        """Of a matrix of real numbers, in types that the core reads; None where it is none."""

    def product(self, B: Any, columns: Columns, u: DeviceArray) -> DeviceArray:
        """B u, float64; no row of B has more than two entries."""


def _named(error: Exception) -> Exception:
    """What to raise of an allocation: for pinned memory both packages raise whatever CUDA says."""
    short = isinstance(error, MemoryError) or "out of memory" in str(error)
    return DeviceMemoryError(str(error)) if short else DeviceError(str(error))


class _Torch:
    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, DeviceFramework]:
        torch = sys.modules["torch"]
        if g.layout != torch.strided:
            raise InvalidInputError(f"{name}: expected a dense tensor, got layout {g.layout}")
        if g.is_complex():
            raise InvalidInputError(f"{name}: expected real numbers, got dtype {g.dtype}")
        g = g.detach().resolve_neg()
        if g.dtype not in (torch.float32, torch.float64, torch.bfloat16):
            g = g.to(torch.float32 if g.dtype == torch.float16 else torch.float64)
        return g, Torch(g.device)

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

    def current(self, x: DeviceArray) -> AbstractContextManager[object]:
        device: AbstractContextManager[object] = sys.modules["torch"].cuda.device(x.device)
        return device

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        torch = sys.modules["torch"]
        where = {"device": like.device} if device else {"pin_memory": True}
        try:
            memory = torch.empty(size, dtype=torch.uint8, **where)
        except RuntimeError as error:
            raise _named(error) from error
        return memory, int(memory.data_ptr())

    def columns(self, B: Any) -> Columns | None:
        torch = sys.modules["torch"]
        layouts = (torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)
        hybrid = B.layout != torch.strided and B.dense_dim() != 0
        if B.ndim != 2 or B.layout not in layouts or B.is_complex() or hybrid:
            return None
        B = B.detach()
        if B.layout == torch.sparse_csc:
            indptr, indices, values = B.ccol_indices(), B.row_indices(), B.values()
        else:  # by hand: torch warns when it makes such a matrix
            B = B.to(torch.int8) if B.dtype == torch.bool else B
            coo = (B.resolve_neg().to_sparse() if B.layout == torch.strided else B).to_sparse_coo()
            row, column = coo.coalesce().indices()
            column, order = column.sort(stable=True)
            ends = torch.arange(B.shape[1] + 1, device=B.device)
            indptr, indices = torch.searchsorted(column, ends), row[order]
            values = coo.coalesce().values()[order]
        kept = (torch.int8, torch.int32, torch.float32, torch.float64)
        if values.dtype not in kept:
            values = values.float() if values.is_floating_point() else values.long()
        wide = torch.int32 if indptr.dtype == indices.dtype == torch.int32 else torch.int64
        indptr, indices = (x.to(wide).contiguous() for x in (indptr, indices))
        return indptr, indices, values.resolve_neg().contiguous()

    def product(self, B: Any, columns: Columns, u: DeviceArray) -> DeviceArray:
        torch = sys.modules["torch"]
        indptr, indices, values = columns
        v = torch.zeros(B.shape[0], dtype=torch.float64, device=u.device)
        steps = torch.repeat_interleave(u, indptr.diff()).mul_(values)
        return v.index_add_(0, indices, steps)  # in any order: a + b = b + a


class _CuPy:
    def read(self, g: DeviceArray, name: str) -> tuple[DeviceArray, DeviceFramework]:
        known = ("float32", "float64", "bfloat16")  # the last of ml_dtypes, to NumPy of no kind
        if g.dtype.kind not in "biuf" and g.dtype.name not in known:
            raise InvalidInputError(f"{name}: expected real numbers, got dtype {g.dtype}")
        if g.dtype.name not in known:
            g = g.astype(np.float32 if g.dtype == np.float16 else np.float64)
        return g, CuPy(g.device.id)

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

    def current(self, x: DeviceArray) -> AbstractContextManager[object]:
        device: AbstractContextManager[object] = sys.modules["cupy"].cuda.Device(x.device.id)
        return device

    def allocate(self, like: DeviceArray, size: int, device: bool) -> tuple[object, int]:
        cuda = sys.modules["cupy"].cuda
        try:
            with cuda.Device(like.device.id):
                memory = cuda.alloc(size) if device else cuda.alloc_pinned_memory(size)
        except (MemoryError, RuntimeError) as error:
            raise _named(error) from error
        return memory, int(memory.ptr)

    def columns(self, B: Any) -> Columns | None:
        if B.ndim != 2:
            return None
        if isinstance(B, sys.modules["cupy"].ndarray):
            floating = B.astype(np.promote_types(B.dtype, np.float32), copy=False)
            B = import_module("cupyx.scipy.sparse").csc_matrix(floating)  # which has no integers
        B = B.tocsc()
        values = B.data
        kinds = ((B.indptr, "iu"), (B.indices, "iu"), (values, "biuf"))
        if any(x.dtype.kind not in kind or x.ndim != 1 for x, kind in kinds):
            return None
        if values.dtype not in VALUE_DTYPES:
            values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        wide = np.int32 if B.indptr.dtype == B.indices.dtype == np.int32 else np.int64
        return B.indptr.astype(wide, copy=False), B.indices.astype(wide, copy=False), values

    def product(self, B: Any, columns: Columns, u: DeviceArray) -> DeviceArray:
        return B.astype(np.float64) @ u


def on_device(x: Any) -> bool:
    """Whether x is a torch tensor or a CuPy array on a CUDA device."""
    if is_torch(x):
        return bool(x.is_cuda)
    return isinstance(x, class_of("cupy", "ndarray"))


def package_of(x: DeviceArray) -> Package:
    """What to ask about an array, or a matrix, of this kind."""
    return _Torch() if is_torch(x) else _CuPy()


def read_on_device(g: DeviceArray, name: str = "g") -> tuple[DeviceArray, DeviceFramework]:
    """One-dimensional real data, left on its device, as float32, float64 or bfloat16."""
    if g.ndim != 1:
        raise InvalidInputError(f"{name}: expected a 1-D array, got shape {tuple(g.shape)}")
    return package_of(g).read(g, name)


def matrix_on_device(B: object) -> bool:
    """Whether B is an array, or a sparse matrix, of torch or CuPy on a CUDA device."""
    return on_device(B) or type(B).__module__.partition(".")[0] == "cupyx"


def copied(x: DeviceArray) -> DeviceArray:
    """A copy on the same device."""
    return package_of(x).copied(x)


def alike(parts: Sequence[DeviceArray]) -> list[DeviceArray]:
    """Parts of g in one dtype.

    Raises:
        InvalidInputError: they are not all on one device.
    """
    places: dict[str, int] = {}
    for i, part in enumerate(parts):
        places.setdefault(package_of(part).place(part) if on_device(part) else "the host", i)
    if len(places) > 1:
        listed = ", ".join(f"g[{i}] on {place}" for place, i in places.items())
        raise InvalidInputError(f"g: expected all arrays on one device, got {listed}")
    if len({part.dtype for part in parts}) == 1:
        return list(parts)
    return [package_of(part).widened(part) for part in parts]
