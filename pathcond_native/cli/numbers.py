"""Numbers on the command line, refused where they make no sense."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

__all__ = ["finite", "real", "whole"]


def whole(least: int) -> Callable[[str], int]:
    """Reads an integer that is at least `least`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number < 2**31:
            raise argparse.ArgumentTypeError(f"expected an integer, at least {least}, got {text!r}")
        return number

    return read


def real(least: float) -> Callable[[str], float]:
    """Reads a number that is at least `least`."""

    def read(text: str) -> float:
        number = _float(text)
        if not number >= least:
            raise argparse.ArgumentTypeError(f"expected a number, at least {least:g}, got {text!r}")
        return number

    return read


def finite(text: str) -> float:
    """Reads a number."""
    number = _float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
    return number


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
