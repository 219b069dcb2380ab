"""Factors of a rescaling: exponents of two, rounded to integers on request.

A factor 2^k moves the exponent of a floating-point number and nothing else. Sums, products, maxima
and comparisons of numbers scaled alike round alike, so that with integer k the rescaled network
computes the same bits, as long as nothing leaves the range of normal numbers.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInputError

__all__ = ["RoundTo", "check_round_to", "exponents", "power_of_two"]

RoundTo = Literal["power_of_two"]

Array = npt.NDArray[np.float64]


def check_round_to(round_to: str | None) -> None:
    """Raise unless `round_to` is a rounding that exists."""
    if round_to not in (None, "power_of_two"):
        raise InvalidInputError(f"round_to: expected None or 'power_of_two', got {round_to!r}")


def exponents(u: Array, strength: float, round_to: RoundTo | None, max_scale: float) -> Array:
    """log2 λ per neuron for λ = exp(strength · u / 2), shape (H,); integers if rounded.

    Where that is beyond [1/max_scale, max_scale], the λ within that is nearest.
    """
    log2 = strength * u / (2.0 * math.log(2.0))
    most = math.log2(max_scale)
    if round_to:
        log2, most = np.rint(log2), math.floor(most) if math.isfinite(most) else most
    return np.clip(log2, -most, most)


def power_of_two(exponent: Array) -> Array:
    """2^exponent, exact for integers; infinite or 0 where that leaves float64's range."""
    whole = np.rint(exponent)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(np.exp2(exponent - whole), whole.astype(np.int32)))
