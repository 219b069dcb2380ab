"""The scales that a criterion chose for a model, before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..result import SolveResult

__all__ = ["Found"]


@dataclass(frozen=True)
class Found:
    """What was solved, and how far the model is to go."""

    result: SolveResult
    """The minimiser, before strength and rounding."""
    log2: npt.NDArray[np.float64]
    """log2 λ per neuron, shape (H,), as it is to be applied."""
    objective: float
    """The criterion there."""
    gradient_norm: float
    """Its gradient there, see `RescaleReport`."""
    idle: str
    """Why a neuron may be `frozen`."""
    all_idle: str
    """The same where all are."""
