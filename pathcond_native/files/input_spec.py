"""Inputs in a few words: ``1x3x224x224`` or ``1x128:int64``."""

from __future__ import annotations

import math
import re

from ..errors import InvalidInputError

__all__ = ["parsed"]

_SPEC = re.compile(r"(\d+(?:x\d+)*)(?::(\w+))?")
_MOST = 1 << 30  # entries: a typing error should not fill the memory


def parsed(spec: str) -> tuple[list[int], str | None]:
    """The shape, and the name of the dtype if there is one.

    Raises:
        InvalidInputError: it is no specification, or has no entry or too many.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InvalidInputError(
            f"--input: expected SHAPE[:DTYPE] such as 1x3x224x224 or 1x128:int64, got {spec!r}"
        )
    shape = [int(n) for n in match[1].split("x")]
    if not 0 < math.prod(shape) <= _MOST:
        raise InvalidInputError(f"--input: {spec!r} has {math.prod(shape)} entries")
    return shape, match[2]
