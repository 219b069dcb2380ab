"""What commands print on the standard output stream."""

from __future__ import annotations

import json
import math
from typing import Any

from ..errors import OutputError

__all__ = ["print_json", "say"]


def say(text: str) -> None:
    """Print a line, or several, at once.

    Raises:
        BrokenPipeError: whoever reads it has enough.
        OutputError: it cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from error


def print_json(facts: Any) -> None:
    """Print valid JSON: numbers that it does not have (NaN, infinity) become null."""
    say(json.dumps(_plain(facts), indent=2, allow_nan=False))


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(y) for y in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
