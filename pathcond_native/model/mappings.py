"""Tensors over memory that cannot be written to: trying may end the process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ..errors import InvalidInputError

__all__ = ["check_writable"]

_MAPPINGS = Path("/proc/self/maps")
_REMEDY = (
    "copy it first, as in parameter.data = "
    "parameter.data.clone(memory_format=torch.contiguous_format)"
)


def check_writable(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Raise if entries of a tensor share memory, as after `expand`, or it lies in a file that is
    mapped for reading only, as `numpy.memmap` does it.

    Memory that torch allocated is not looked at. Where the system does not tell, all is well.

    Args:
        tensors: each with what it is called in the message.
    """
    tensors = list(tensors)
    for name, x in tensors:
        if any(n > 1 and step == 0 for n, step in zip(x.shape, x.stride(), strict=True)):
            raise InvalidInputError(f"{name} holds some entries in the same memory; {_REMEDY}")
    foreign = [
        (name, x.untyped_storage())
        for name, x in tensors
        if x.device.type == "cpu" and x.numel() and not x.untyped_storage().resizable()
    ]
    if not foreign or not _MAPPINGS.exists():
        return
    writable = list(_writable())
    for name, storage in foreign:
        start = storage.data_ptr()
        end = start + storage.nbytes()
        if not any(a <= start and end <= b for a, b in writable):
            raise InvalidInputError(
                f"{name} lies in memory that is mapped for reading only; {_REMEDY}"
            )


def _writable() -> Iterable[tuple[int, int]]:
    """Address ranges that can be written to, adjacent ones joined."""
    last: tuple[int, int] | None = None
    for line in _MAPPINGS.read_text().splitlines():
        addresses, permissions, *_ = line.split(maxsplit=2)
        if permissions[1] != "w":
            continue
        start, end = (int(x, 16) for x in addresses.split("-"))
        if last and last[1] == start:
            last = last[0], end
            continue
        if last:
            yield last
        last = start, end
    if last:
        yield last
