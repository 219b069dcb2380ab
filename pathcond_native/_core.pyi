"""
The native solver; use pathcond_native.solve.
"""

from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing

__all__: list[str] = [
    "DeviceError",
    "InvalidInput",
    "NotCanonical",
    "Solution",
    "build_info",
    "cuda_status",
    "equalise",
    "magnitudes",
    "reduce",
    "scale",
    "scale_emulated",
    "scale_on_device",
    "solve",
    "solve_emulated",
    "solve_on_device",
    "solve_panels",
]

class InvalidInput(ValueError):
    pass

class NotCanonical(ValueError):
    pass

class Solution:
    """
    What the solver returns, see SolveResult.
    """
    @property
    def converged(self) -> bool: ...
    @property
    def frozen(self) -> numpy.typing.NDArray[numpy.uint8]: ...
    @property
    def gradient_norm(self) -> float: ...
    @property
    def history(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def initial_objective(self) -> float: ...
    @property
    def merged_rows(self) -> int: ...
    @property
    def objective(self) -> float: ...
    @property
    def passes(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def seconds(self) -> list[tuple[str, float]]: ...
    @property
    def status(self) -> str: ...
    @property
    def sweeps(self) -> int: ...
    @property
    def u(self) -> numpy.typing.NDArray[numpy.float64]: ...

class DeviceError(RuntimeError):
    pass

def build_info() -> dict[str, typing.Any]:
    """
    How this module was compiled and what it runs on.
    """

def cuda_status(device: typing.SupportsInt | typing.SupportsIndex = 0) -> tuple[str, str]:
    """
    What stands between this build and a CUDA device, and details. Asks the driver; creates no context.
    """

def equalise(
    indptr: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    indices: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    values: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    log_size: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    u0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    max_scale: typing.SupportsFloat | typing.SupportsIndex,
    tolerance: typing.SupportsFloat | typing.SupportsIndex,
    max_sweeps: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], float]:
    """
    Cross-layer equalisation of B (int8 in compressed sparse columns, int32) over rows of weights with these logs: u, the imbalance before and after every sweep, and what of it max_scale lets become smaller.
    """

def magnitudes(
    x: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[float, float]:
    """
    The smallest |x| other than 0, infinity if there is none, and the largest, NaN if an entry is; x is contiguous.
    """

def reduce(
    part: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], over_enters: bool, over_leaves: bool
) -> numpy.typing.NDArray[numpy.float64] | None:
    """
    Sums a 5-D part of g over its last two axes, and over the second or third; None if an entry is not positive.
    """

def scale(
    x: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    first: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    second: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    to: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[float, int]:
    """
    Writes x * first * second to `to`, multiplied in float64 without regard to the range of x * first, and rounded once; all are matrices, `to` may be x. The largest magnitude of a new entry, NaN if one is NaN, and how many shrank to less than the smallest normal number.
    """

def scale_emulated(
    parameters: collections.abc.Sequence[
        tuple[
            typing.SupportsInt | typing.SupportsIndex,
            str,
            typing.Annotated[
                collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
            ],
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(3)",
                ],
            ],
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(3)",
                ],
            ],
        ]
    ],
    factors: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    allocate: collections.abc.Callable[[int, bool], typing.SupportsInt | typing.SupportsIndex],
    *,
    late: bool,
) -> list[tuple[int, int]]:
    """
    For tests: the kernel of scale_on_device, run on the host.
    """

def scale_on_device(
    parameters: collections.abc.Sequence[
        tuple[
            typing.SupportsInt | typing.SupportsIndex,
            str,
            typing.Annotated[
                collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
            ],
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(3)",
                ],
            ],
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(3)",
                ],
            ],
        ]
    ],
    factors: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    allocate: collections.abc.Callable[[int, bool], typing.SupportsInt | typing.SupportsIndex],
    *,
    device: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> list[tuple[int, int]]:
    """
    As scale, for contiguous arrays of three axes on a CUDA device: how many entries of each are not finite, and how many shrank to less than the smallest normal number.
    """

def solve(
    rows: typing.SupportsInt | typing.SupportsIndex,
    indptr: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    indices: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    values: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    g: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    *,
    method: str,
    linear: bool,
    tolerance: typing.SupportsFloat | typing.SupportsIndex | None,
    max_sweeps: typing.SupportsInt | typing.SupportsIndex | None,
    u0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    max_scale: typing.SupportsFloat | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
    callback: typing.Any,
) -> Solution:
    """
    Solves for B in compressed sparse columns (arrays read in place).
    """

def solve_emulated(
    source: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        str,
        collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(5)",
                ],
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(5)",
                ],
                numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
                numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
            ]
        ],
    ]
    | tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[collections.abc.Sequence[str], "FixedSize(3)"],
        typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
        ],
    ],
    allocate: collections.abc.Callable[[int, bool], typing.SupportsInt | typing.SupportsIndex],
    *,
    late: bool,
    method: str,
    linear: bool,
    tolerance: typing.SupportsFloat | typing.SupportsIndex | None,
    max_sweeps: typing.SupportsInt | typing.SupportsIndex | None,
    u0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    max_scale: typing.SupportsFloat | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
    callback: typing.Any,
) -> tuple[Solution | None, int, int]:
    """
    For tests: the kernels of solve_on_device, run on the host for what is there; also how often the host would have waited for a device, and bytes copied to and from it.
    """

def solve_on_device(
    source: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        str,
        collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(5)",
                ],
                typing.Annotated[
                    collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
                    "FixedSize(5)",
                ],
                numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
                numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
            ]
        ],
    ]
    | tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.Annotated[collections.abc.Sequence[str], "FixedSize(3)"],
        typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
        ],
    ],
    allocate: collections.abc.Callable[[int, bool], typing.SupportsInt | typing.SupportsIndex],
    *,
    device: typing.SupportsInt | typing.SupportsIndex,
    stream: typing.SupportsInt | typing.SupportsIndex,
    method: str,
    linear: bool,
    tolerance: typing.SupportsFloat | typing.SupportsIndex | None,
    max_sweeps: typing.SupportsInt | typing.SupportsIndex | None,
    u0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    max_scale: typing.SupportsFloat | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
    callback: typing.Any,
) -> Solution | None:
    """
    As solve_panels or solve, for tensors of g, or B and g, on a CUDA device; None where only the host can solve it.
    """

def solve_panels(
    neurons: typing.SupportsInt | typing.SupportsIndex,
    parts: collections.abc.Sequence[
        tuple[
            numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
            numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
            numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
            typing.SupportsInt | typing.SupportsIndex,
        ]
    ],
    *,
    method: str,
    linear: bool,
    tolerance: typing.SupportsFloat | typing.SupportsIndex | None,
    max_sweeps: typing.SupportsInt | typing.SupportsIndex | None,
    u0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    max_scale: typing.SupportsFloat | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
    callback: typing.Any,
) -> Solution | None:
    """
    Solves for tensors of g, each with the neurons that its channels enter and leave; None where that needs B itself, also to say what is wrong with g.
    """
