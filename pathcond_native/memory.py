"""Memory that runs out is told as what it is, whoever asked for it."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pathcond_native.errors import OutOfMemoryError, PathcondError

__all__ = ["exhaustion_told", "ran_out", "return_freed_blocks"]

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in glibc's malloc.h

_PHRASES = (
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
)


def ran_out(error: BaseException | None) -> bool:
    """Whether an exception, or what caused it, is that no memory was to be had."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        # torch has no type of its own for the memory of the host.
        if isinstance(error, (RuntimeError, ImportError)):
            text = str(error).lower()
            if any(phrase in text for phrase in _PHRASES):
                return True
        error = error.__cause__
    return False


@contextmanager
def exhaustion_told(what: str) -> Iterator[None]:
    """Raise `OutOfMemoryError` where the block, or the decorated function, runs out of memory."""
    try:
        yield
    except PathcondError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        first = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{what}: not enough memory, nothing was changed ({first})"
        raise OutOfMemoryError(message) from error


def return_freed_blocks() -> None:
    """Have the system get back large blocks as soon as they are freed, in all of this process.

    glibc comes to keep those of up to 32 MiB, and a heap of them fragments to a multiple of what is
    ever in use. Elsewhere, nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 20)
