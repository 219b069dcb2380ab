"""A device played by the host: the kernels of the CUDA backend, run as plain loops."""

import sys
import types
import weakref
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pathcond_native import (
    DeviceMemoryError,
    _core,
    device,
    device_arrays,
    result,
    solver,
    structured,
)
from pathcond_native import model as model_package

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "model")]


@dataclass
class Emulation:
    """What the played device was asked for."""

    late: bool = False
    solved: int = 0
    refused: int = 0
    largest: int = 0
    """Bytes of the largest piece of memory."""
    on_device: int = 0
    """Bytes of all memory there."""
    on_host: int = 0
    """Bytes of all memory for copies to and from the host."""
    bytes_left: float = float("inf")
    calls: list[dict] = field(default_factory=list)
    launches: list[list[str]] = field(default_factory=list)
    """Dtypes of the parameters of each launch that scaled some."""
    waits: int = 0
    """How often the host waited in the last solve."""
    copied: int = 0
    """Bytes between host and device, of all solves; all that scaling has allocated for that."""
    allocations: list[bool] = field(default_factory=list)
    """Pieces of memory, whether on the device."""
    pieces: list[weakref.ref] = field(default_factory=list)
    """The same, for as long as they are held."""


@pytest.fixture
def emulated(monkeypatch):
    """Torch tensors count as tensors on a device, which the host plays."""
    return _play(monkeypatch, lambda x: isinstance(x, torch.Tensor))


def _play(monkeypatch, on_device: Callable[[object], bool]) -> Emulation:
    state = Emulation()

    def solve(source, allocate, *, device, stream, **options):
        dtype = source[1] if len(source) == 3 else source[3][2]
        state.calls.append({"dtype": dtype, "device": device, "stream": stream})
        solution, state.waits, copied = _core.solve_emulated(
            source, allocate, late=state.late, **options
        )
        state.copied += copied
        state.solved += solution is not None
        state.refused += solution is None
        return solution

    def scale(parameters, factors, allocate, *, device, stream):
        state.launches.append([dtype for _, dtype, *_ in parameters])
        before = state.on_host
        harmed = _core.scale_emulated(parameters, factors, allocate, late=state.late)
        state.copied += state.on_host - before
        return harmed

    def allocate(self, like, size, device):
        state.largest = max(state.largest, size)
        state.on_host += 0 if device else size
        state.on_device += size if device else 0
        state.allocations.append(device)
        state.bytes_left -= size
        if state.bytes_left < 0:
            raise DeviceMemoryError(f"{size} bytes")
        memory = np.full(size, 0xFF, np.uint8)  # doubles are NaN until they are written
        state.pieces.append(weakref.ref(memory))
        return memory, memory.ctypes.data

    monkeypatch.setattr(device, "_status", lambda _: ("ready", "the host"))
    monkeypatch.setattr(_core, "solve_on_device", solve)
    monkeypatch.setattr(_core, "scale_on_device", scale)
    for package in (device_arrays._Torch, device_arrays._CuPy):
        monkeypatch.setattr(package, "allocate", allocate)
        monkeypatch.setattr(package, "device_and_stream", lambda self, x: (0, 0))
        monkeypatch.setattr(package, "current", lambda self, x: nullcontext())
    for module in (
        device_arrays,
        result,
        solver,
        structured,
        *(sys.modules[f"{model_package.__name__}.{name}"] for name in ("apply", "parts")),
    ):
        monkeypatch.setattr(module, "on_device", on_device)
    return state


@pytest.fixture
def play(monkeypatch):
    """As `emulated`, for other kinds of arrays."""
    return lambda on_device: _play(monkeypatch, on_device)


class OneDevice(TorchDispatchMode):
    """No operator of torch may have many real numbers of one device, and others on another."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        if len({x.device.type for x in tensors}) > 1:
            for x in tensors:
                few(x, self.most, f"{operator} across devices")
        return result


def names_host(*arguments):
    return any(isinstance(x, str) and x == "cpu" for x in arguments)


def few(array, most, what):
    if isinstance(array, torch.Tensor):
        real, size = array.is_floating_point(), array.numel()
    else:
        real, size = array.dtype.kind == "f", array.size
    if real and size > most:
        raise AssertionError(f"{what}: {size} entries")


@pytest.fixture
def no_large_copies(monkeypatch):
    """Called with a number: from then on no more real entries of a tensor may come to the host.

    Where the host plays the device, only calls that name the host tell its tensors from others.
    """
    with ExitStack() as stack:

        def forbid(most):
            def guarded(owner, name, to_host=lambda *_, **__: True):
                original = getattr(owner, name)

                def function(x, *args, **kwargs):
                    if isinstance(x, torch.Tensor | np.ndarray) and to_host(x, *args, **kwargs):
                        few(x, most, name)
                    return original(x, *args, **kwargs)

                monkeypatch.setattr(owner, name, function)

            for name in ("cpu", "numpy", "tolist", "__array__"):
                guarded(torch.Tensor, name)
            guarded(torch.Tensor, "to", lambda _, *to, **named: names_host(*to, *named.values()))
            for name in ("from_numpy", "tensor", "as_tensor", "asarray"):
                guarded(torch, name)
            stack.enter_context(OneDevice(most))

        yield forbid


class FakeCuPy(types.ModuleType):
    """As much of CuPy as is used, its arrays on the host."""

    def __init__(self):
        super().__init__("cupy")

        class Device:
            id = 0

            def __init__(self, number=0):
                assert number == 0

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

        class NdArray(np.ndarray):
            def get(self):
                return np.array(self)

            @property
            def device(self):
                return Device()

            @property
            def data(self):
                return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])

        class CscMatrix(sp.csc_array):
            def __init__(self, source, **options):
                if isinstance(source, NdArray) and source.dtype.char not in "?fdFD":
                    raise ValueError("Only bool, float32, float64, ... are supported")
                super().__init__(source, **options)

            @property
            def ndim(self):
                return 2

            def __setattr__(self, name, value):
                if name in ("indptr", "indices", "data"):
                    value = np.asarray(value).view(NdArray)
                super().__setattr__(name, value)

            def get(self):
                matrix = sp.csc_array(self.shape)
                for name in ("indptr", "indices", "data"):
                    setattr(matrix, name, np.asarray(getattr(self, name)))
                return matrix

        NdArray.__module__ = "cupy"
        CscMatrix.__module__ = "cupyx.scipy.sparse"
        self.csc_matrix = CscMatrix
        self.ndarray = NdArray
        self.cuda = types.SimpleNamespace(Device=Device)

    def asarray(self, array):
        return np.asarray(array).view(self.ndarray)

    def zeros(self, size, dtype):
        return self.asarray(np.zeros(size, dtype))

    def arange(self, start, stop, dtype):
        return self.asarray(np.arange(start, stop, dtype=dtype))


@pytest.fixture
def cupy(monkeypatch):
    module = FakeCuPy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
