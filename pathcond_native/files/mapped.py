"""Files as arrays that take next to no memory: pages are read when used and soon given back."""

from __future__ import annotations

import math
import mmap
import os
import threading
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..model.scaled import shift
from .layout import Layout

__all__ = ["Mapped", "Scratch"]

_EVERY = 0.005  # seconds; what is read meanwhile bounds the memory
_SMALL = 1 << 13  # numbers that are not worth a mapping
_AT_ONCE = 1 << 16  # numbers
# Private: what code writes to a tensor never reaches the file, and takes no reserve of memory.
_FLAGS = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)


class Mapped:
    """Maps files, and while it is entered gives their pages back many times a second.

    Tensors stay valid: the next access reads the page again, mostly from the page cache, which the
    system takes from whenever memory is short. As with all mappings, a process ends with SIGBUS if
    a file is made shorter meanwhile.
    """

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._release, daemon=True)

    def __enter__(self) -> Mapped:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._maps.clear()

    def tensors(self, layout: Layout) -> dict[str, Tensor]:
        """All tensors of a safetensors file whose dtypes PyTorch has."""
        found = {}
        with layout.path.open("rb") as stream:
            content = self.bytes(stream, 0, layout.size)
        for name, entry in layout.entries.items():
            if entry.dtype is None:
                continue
            if not math.prod(entry.shape):
                found[name] = torch.empty(entry.shape, dtype=entry.dtype)
                continue
            if entry.start % entry.dtype.itemsize:
                raise InvalidInputError(
                    f"{layout.path}: '{name}' begins at an address that is no multiple of its "
                    "entries' size; write the file anew with the package safetensors"
                )
            count = math.prod(entry.shape)
            flat = torch.frombuffer(content, dtype=entry.dtype, count=count, offset=entry.start)
            found[name] = flat.reshape(entry.shape)
        return found

    def bytes(self, stream: BinaryIO, start: int, size: int) -> mmap.mmap:
        """A part of a file; it begins at a page."""
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        held = mmap.mmap(stream.fileno(), size, flags=_FLAGS, prot=protection, offset=start)
        self._maps.append(held)
        return held

    def forget(self, maps: list[mmap.mmap]) -> None:
        """Leave these to whoever still uses them."""
        forgotten = set(map(id, maps))
        self._maps = [held for held in self._maps if id(held) not in forgotten]

    def _release(self) -> None:
        while not self._done.wait(_EVERY):
            for held in list(self._maps):
                held.madvise(mmap.MADV_DONTNEED)


class Scratch:
    """Numbers that are kept in a nameless file: nothing is left of it, however the process ends."""

    def __init__(self, folder: Path, mapped: Mapped) -> None:
        self._mapped = mapped
        self._maps: list[mmap.mmap] = []
        path = folder / "scratch"
        self._stream = path.open("w+b")
        path.unlink()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._mapped.forget(self._maps)
        self._maps.clear()
        self._stream.close()

    def keep(self, x: Tensor, exponent: int) -> Tensor:
        """x · 2^exponent in float64, out of memory."""
        if x.numel() < _SMALL:
            return shift(x.double(), exponent)
        end = self._stream.seek(0, os.SEEK_END)
        start = self._stream.seek(-end % mmap.ALLOCATIONGRANULARITY, os.SEEK_END)
        for piece in torch.split(x.contiguous().reshape(-1), _AT_ONCE):
            self._stream.write(shift(piece.double(), exponent).numpy().data)
        self._stream.flush()
        held = self._mapped.bytes(self._stream, start, 8 * x.numel())
        self._maps.append(held)
        return torch.frombuffer(held, dtype=torch.float64).reshape(x.shape)
