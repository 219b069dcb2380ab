"""A safetensors file with some of its tensors rescaled, copied piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, BinaryIO

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..model.apply import blocks, rescaled_block, underflowed
from .layout import Entry, Layout

__all__ = ["Multipliers", "rewrite"]

_AT_ONCE = 1 << 16  # entries, or bytes of what is copied as it is

Multipliers = Callable[[str], "list[Tensor] | None"]
"""By a tensor's name, what `model.apply.multipliers` says; None if it stays."""


def rewrite(
    layout: Layout, scales: Multipliers, exact: bool, lost: dict[str, int], stream: IO[bytes]
) -> None:
    """Write a file anew; everything but the bytes of rescaled tensors is as it was.

    Args:
        layout: of the file to read.
        scales: says what changes.
        exact: refuse values that are not the old ones times a power of two.
        lost: gets how many entries underflowed, by tensor.
        stream: to write to.

    Raises:
        VerificationError: a value overflows its dtype, or is not exact although it has to be.
        InvalidInputError: the file has become shorter.
    """
    with layout.path.open("rb") as source:
        end = 0
        for name, entry in layout.entries.items():
            both = scales(name)
            if both is None:
                continue
            _copy(source, stream, entry.start - end)
            if count := _rescale(name, entry, both, exact, source, stream):
                lost[name] = count
            end = entry.stop
        _copy(source, stream, layout.size - end)


def _rescale(
    name: str, entry: Entry, both: list[Tensor], exact: bool, source: BinaryIO, stream: IO[bytes]
) -> int:
    lost = 0
    assert entry.dtype is not None
    for place in blocks(entry.shape, _AT_ONCE):
        shape = [part.stop - part.start for part in place]
        count = torch.Size(shape).numel()
        content = bytearray(_read(source, count * entry.dtype.itemsize))
        old = torch.frombuffer(content, dtype=entry.dtype).reshape(shape)
        new = rescaled_block(name, old, both, place, exact)
        lost += underflowed(old, new)
        stream.write(new.reshape(-1).view(torch.uint8).numpy().data)
    return lost


def _copy(source: BinaryIO, stream: IO[bytes], size: int) -> None:
    while size:
        part = _read(source, min(size, _AT_ONCE))
        stream.write(part)
        size -= len(part)


def _read(source: BinaryIO, size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise InvalidInputError(f"{source.name}: it became shorter while it was read")
    return content
