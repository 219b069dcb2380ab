"""What happens when memory runs out, at one amount after the other. For processes of their own."""

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

# Large blocks go back to the system at once, so that a limit means what it says.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536"}

# NumPy itself crashes now and then where not even some KiB are left.
BUDGETS = [int(3e5 * 1.6**k) for k in range(15)]

_STATM = os.open("/proc/self/statm", os.O_RDONLY)


def used() -> int:
    """Bytes of address space."""
    return int(os.pread(_STATM, 100, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def left(budget: int, release: list[object] | None = None) -> Iterator[list[object]]:
    """A block that can get `budget` more bytes, and scraps; yields what fills the heap.

    If that of an earlier block is given for `release`, the calling thread finds memory there, and
    other threads run out first.
    """
    hold: list[object] = []
    now = used()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (now, resource.RLIM_INFINITY))
        for size in (1 << 20, 1 << 16, 1 << 13):
            try:
                while True:
                    hold.append(np.empty(size, np.uint8))
            except MemoryError:
                pass
        resource.setrlimit(resource.RLIMIT_AS, (now + budget, resource.RLIM_INFINITY))
        if release is not None:
            release.clear()
        yield hold
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def sweep(action: Callable[[int], None], budgets: Iterable[int]) -> dict[str, int]:
    """How often the action ended how. It limits itself, by `left`."""
    ended: Counter[str] = Counter()
    for budget in budgets:
        try:
            action(budget)
        except AssertionError:
            raise
        except Exception as error:
            ended[f"{type(error).__name__}: {error}"] += 1
        else:
            ended["done"] += 1
    return dict(ended)
