"""Path-conditioned rescaling of ReLU networks.

`solve(B, g)` is the solver and needs NumPy only. `trace`, `diag_g` and `rescale_` work on PyTorch
models, `PathConditioner` on models in training; torch is imported when one is first used.
`rescale_onnx` works on ONNX models, without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pathcond_native.main_interpreter  # noqa: F401  (before the core is loaded)
from pathcond_native._core import build_info as _build_info
from pathcond_native.errors import (
    DeviceError,
    DeviceMemoryError,
    InvalidInputError,
    OutOfMemoryError,
    PathcondError,
    TraceError,
    VerificationError,
)
from pathcond_native.result import SolveResult
from pathcond_native.solver import solve

if TYPE_CHECKING:
    from pathcond_native.engine.graph import RescalingGraph
    from pathcond_native.engine.report import RescaleReport
    from pathcond_native.engine.stats import Stats
    from pathcond_native.model.conditioner import PathConditioner
    from pathcond_native.model.diag_g import diag_g
    from pathcond_native.model.register import register_rule
    from pathcond_native.model.rescale import rescale, rescale_
    from pathcond_native.model.stats import stats
    from pathcond_native.model.trace import trace
    from pathcond_native.onnx import rescale_onnx

__version__ = str(_build_info()["version"])

__all__ = [
    "DeviceError",
    "DeviceMemoryError",
    "InvalidInputError",
    "OutOfMemoryError",
    "PathConditioner",
    "PathcondError",
    "RescaleReport",
    "RescalingGraph",
    "SolveResult",
    "Stats",
    "TraceError",
    "VerificationError",
    "__version__",
    "diag_g",
    "register_rule",
    "rescale",
    "rescale_",
    "rescale_onnx",
    "solve",
    "stats",
    "trace",
]

# Where a name is, and the extra that brings what it needs.
_LAZY = {
    "PathConditioner": ("model", "torch"),
    "RescaleReport": ("engine.report", "torch"),
    "RescalingGraph": ("engine.graph", "torch"),
    "Stats": ("engine.stats", "torch"),
    "diag_g": ("model", "torch"),
    "register_rule": ("model", "torch"),
    "rescale": ("model", "torch"),
    "rescale_": ("model", "torch"),
    "rescale_onnx": ("onnx", "onnx"),
    "stats": ("model", "torch"),
    "trace": ("model", "torch"),
}


def __getattr__(name: str) -> Any:
    """Import torch, or onnx, only when a name that works on models is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _LAZY[name]
    try:
        found = import_module(f"pathcond_native.{module}")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "pathcond_native":
            raise
        raise ImportError(
            f"pathcond_native.{name} needs the package {error.name!r}: "
            f"pip install 'pathcond-native[{extra}]'"
        ) from error
    return getattr(found, name)


def __dir__() -> list[str]:
    return sorted(__all__)
