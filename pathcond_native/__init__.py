"""Path-conditioned rescaling of ReLU networks.

`solve(B, g)` is the solver and needs NumPy only. `trace`, `diag_g` and `rescale_` work on PyTorch
models, `PathConditioner` on models in training; torch is imported when one is first used.
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
    from pathcond_native.model.conditioner import PathConditioner
    from pathcond_native.model.diag_g import diag_g
    from pathcond_native.model.graph import RescalingGraph
    from pathcond_native.model.register import register_rule
    from pathcond_native.model.report import RescaleReport
    from pathcond_native.model.rescale import rescale, rescale_
    from pathcond_native.model.stats import Stats, stats
    from pathcond_native.model.trace import trace

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
    "solve",
    "stats",
    "trace",
]

_MODEL_NAMES = frozenset(
    {
        "PathConditioner",
        "RescaleReport",
        "RescalingGraph",
        "Stats",
        "diag_g",
        "register_rule",
        "rescale",
        "rescale_",
        "stats",
        "trace",
    }
)


def __getattr__(name: str) -> Any:
    """Import torch only when a name that works on models is asked for."""
    if name not in _MODEL_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        model = import_module("pathcond_native.model")
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "pathcond_native":
            raise
        raise ImportError(
            f"pathcond_native.{name} needs the package {error.name!r}: "
            "pip install 'pathcond-native[torch]'"
        ) from error
    return getattr(model, name)


def __dir__() -> list[str]:
    return sorted(__all__)
