"""How diag(G) spreads within a parameter, before and after a rescaling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["QUANTILES", "Spread", "log10_quantiles"]

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

_LOG10_2 = math.log10(2.0)


@dataclass(frozen=True)
class Spread:
    """Quantiles of log10 of one parameter's positive entries of diag(G), at `QUANTILES`."""

    parameter: str
    """Its name."""
    before: tuple[float, ...]
    """In the model as it was."""
    after: tuple[float, ...]
    """In the rescaled model."""


def log10_quantiles(positive: npt.NDArray[Any], exponent: int) -> tuple[float, ...]:
    """Quantiles of log10(positive * 2^exponent), at `QUANTILES`; the array is overwritten."""
    logs = np.log10(positive, out=positive)
    shift = exponent * _LOG10_2
    return tuple(float(x) + shift for x in np.quantile(logs, QUANTILES, overwrite_input=True))
