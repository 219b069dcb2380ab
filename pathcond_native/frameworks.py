"""Arrays of other packages as NumPy arrays, where possible without a copy, and back in kind.

No package is imported here but NumPy: an object can only be a torch tensor or a JAX array if its
package has been imported already.
"""

# ruff: noqa: D102  (methods are described where they are first defined)

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcond_native.errors import InvalidInputError
from pathcond_native.memory import ran_out

__all__ = [
    "ArrayAPI",
    "CuPy",
    "DeviceFramework",
    "Framework",
    "Jax",
    "Torch",
    "class_of",
    "framework_of",
    "is_cupy",
    "is_jax_sparse",
    "is_torch",
    "to_numpy",
    "torch_to_numpy",
]


_UNREADABLE = (AttributeError, BufferError, RuntimeError, TypeError, ValueError)
"""What packages raise where an array has no numbers to tell."""


@dataclass(frozen=True)
class Framework:
    """The kind of array that g was, and where: NumPy here, others below."""

    def from_numpy(self, array: npt.NDArray[Any]) -> Any:
        """The array in this framework, on g's device."""
        return array

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        """Inverse of `from_numpy`, but for what that has rounded."""
        return np.asarray(array)


@dataclass(frozen=True)
class DeviceFramework(Framework):
    """A framework whose arrays `solve` leaves on their device."""

    device: Any

    def zeros(self, size: int) -> Any:
        """(size,) float64, on g's device."""
        raise NotImplementedError

    def arange(self, start: int, stop: int) -> Any:
        """Integers, on g's device."""
        raise NotImplementedError

    def exp(self, array: Any) -> Any:
        """exp of every entry."""
        raise NotImplementedError


class Torch(DeviceFramework):
    """Tensors, float64 whatever g was."""

    def from_numpy(self, array: npt.NDArray[Any]) -> Any:
        return import_module("torch").from_numpy(array).to(self.device)

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        return np.asarray(array.cpu())

    def zeros(self, size: int) -> Any:
        torch = import_module("torch")
        return torch.zeros(size, dtype=torch.float64, device=self.device)

    def arange(self, start: int, stop: int) -> Any:
        return import_module("torch").arange(start, stop, device=self.device)

    def exp(self, array: Any) -> Any:
        return array.exp()


class CuPy(DeviceFramework):
    """Arrays of CuPy, float64 whatever g was."""

    def from_numpy(self, array: npt.NDArray[Any]) -> Any:
        return self._made("asarray", array)

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        return np.asarray(array.get())

    def zeros(self, size: int) -> Any:
        return self._made("zeros", size, dtype="float64")

    def arange(self, start: int, stop: int) -> Any:
        return self._made("arange", start, stop, dtype="int64")

    def exp(self, array: Any) -> Any:
        return np.exp(array)

    def _made(self, how: str, *args: Any, **options: Any) -> Any:
        cupy = import_module("cupy")
        with cupy.cuda.Device(self.device):
            return getattr(cupy, how)(*args, **options)


@dataclass(frozen=True)
class Jax(Framework):
    """Arrays of JAX: float64 with jax_enable_x64, else rounded to float32 as all that JAX makes."""

    device: Any
    """None where JAX is free to choose, as it was for g."""

    def from_numpy(self, array: npt.NDArray[Any]) -> Any:
        jax = import_module("jax")
        if self.device is None:
            return jax.numpy.asarray(array)
        return jax.device_put(array, self.device)


@dataclass(frozen=True)
class ArrayAPI(Framework):
    """A package that follows the array API standard: float64 unless g's device has none."""

    namespace: Any
    device: Any

    def from_numpy(self, array: npt.NDArray[Any]) -> Any:
        try:
            info = self.namespace.__array_namespace_info__()
            known = info.dtypes(device=self.device)
            default = info.default_dtypes(device=self.device)["real floating"]
        except (AttributeError, RuntimeError):  # the standard of 2022 and before
            return self.namespace.asarray(array, device=self.device)
        dtype = known.get(array.dtype.name, default)
        return self.namespace.asarray(array, dtype=dtype, device=self.device)


def class_of(package: str, name: str) -> Any:
    """A class of a package that has been imported; else (), of which nothing is an instance.

    While another thread imports the package, it is there without its classes.
    """
    return getattr(sys.modules.get(package), name, ())


def is_torch(value: object) -> bool:
    """Whether it is a tensor, dense or sparse."""
    return isinstance(value, class_of("torch", "Tensor"))


def is_cupy(value: object) -> bool:
    """Whether it is an array or a sparse matrix of CuPy, which turns into NumPy or SciPy by get."""
    return "cupy" in sys.modules and type(value).__module__.partition(".")[0] in ("cupy", "cupyx")


def is_jax_sparse(value: object) -> bool:
    """Whether it is a matrix in any format of jax.experimental.sparse."""
    return isinstance(value, class_of("jax.experimental.sparse", "JAXSparse"))


def framework_of(value: Any) -> Framework:
    """What results should be, for an array that `to_numpy` could read."""
    if is_torch(value):
        return Torch(value.device)
    if is_cupy(value):
        return CuPy(value.device.id)
    if isinstance(value, class_of("jax", "Array")):
        devices = list(value.devices())
        chosen = getattr(value, "committed", True) and len(devices) == 1
        return Jax(devices[0] if chosen else None)
    if hasattr(value, "__array_namespace__") and not isinstance(value, (np.ndarray, np.generic)):
        return ArrayAPI(value.__array_namespace__(), getattr(value, "device", None))
    return Framework()


def to_numpy(value: Any, name: str, expected: str) -> npt.NDArray[Any]:
    """The numbers of any array or nested list, a view where NumPy can have one.

    Raises:
        InvalidInputError: there is no telling them; `name` is to blame and `expected` wanted.
    """
    if is_torch(value):
        _check_tensor(value, name)
        return torch_to_numpy(value)
    if is_jax_sparse(value):  # NumPy would ask for its entries one by one
        raise InvalidInputError(f"{name}: expected {expected}, got a sparse {type(value).__name__}")
    try:
        array = value.get() if is_cupy(value) else _shared(value)
    except _UNREADABLE as error:
        if ran_out(error):
            raise
        if _is_traced(error):
            raise InvalidInputError(
                f"{name}: expected {expected}, got a value that JAX is tracing (inside jit, grad, "
                "vmap or the like), which has none yet; call solve by jax.pure_callback, as "
                "benchmarks/examples/jax_jit.py does"
            ) from None
        raise InvalidInputError(f"{name}: expected {expected}: {error}") from error
    if array.dtype.type.__module__ == "ml_dtypes" and "complex" not in array.dtype.name:
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)  # exact
    return array


def _shared(value: Any) -> npt.NDArray[Any]:
    """By DLPack if the object has it, else by __array__ or as a nested list."""
    if isinstance(value, (np.ndarray, np.generic)) or not hasattr(value, "__dlpack__"):
        return np.asarray(value)
    readers: list[Callable[[Any], npt.NDArray[Any]]] = [np.from_dlpack]
    if hasattr(value, "__array__"):  # which knows more dtypes than DLPack in NumPy
        readers.append(np.asarray)
    readers.append(partial(np.from_dlpack, device="cpu"))  # a copy, from another device
    errors = []
    for read in readers:
        try:
            return read(value)
        except _UNREADABLE as error:
            errors.append(error)
    raise errors[0]


def _is_traced(error: Exception) -> bool:
    kinds = ("TracerArrayConversionError", "ConcretizationTypeError")
    return isinstance(error, tuple(class_of("jax.errors", kind) for kind in kinds))


def _check_tensor(tensor: Any, name: str) -> None:
    if tensor.layout != sys.modules["torch"].strided:
        raise InvalidInputError(f"{name}: expected a dense tensor, got layout {tensor.layout}")
    if tensor.device.type == "meta":
        raise InvalidInputError(f"{name}: expected a tensor with values, got one on 'meta'")


def torch_to_numpy(tensor: Any) -> npt.NDArray[Any]:
    """A dense tensor's entries; half precision as float32, which is exact."""
    torch = sys.modules["torch"]
    tensor = tensor.detach().cpu().resolve_neg().resolve_conj()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    array: npt.NDArray[Any] = tensor.numpy()
    return array
