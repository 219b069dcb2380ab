"""Safetensors files in memory.

The header is written back as it came, so that metadata, order and alignment survive to the byte,
and so do tensors of dtypes that PyTorch does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInputError
from .layout import Entry, layout_of

__all__ = ["Safetensors"]


class Safetensors:
    """A file of named tensors; those that a model was given are kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = layout_of(path).entries
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._tensors: dict[str, Tensor] = {}

    def choose(self, names: set[str], key: str | None) -> Mapping[str, Tensor]:
        """The tensors with these names."""
        if key is not None:
            raise InvalidInputError("--key: safetensors files hold one set of tensors only")
        known = {n: entry for n, entry in self._entries.items() if entry.dtype is not None}
        found = {name: entry for name, entry in known.items() if name in names}
        if not found:
            some = ", ".join(list(known)[:6])
            raise InvalidInputError(
                f"{self._path}: no tensor has the name of one of the model's; there are {some} …"
            )
        self._tensors = {name: self._read(entry) for name, entry in found.items()}
        return self._tensors

    def note(self) -> str | None:
        """Nothing: the file holds tensors only."""
        return None

    def write(self, stream: IO[bytes]) -> None:
        """Copy the file and put the tensors' bytes in their places."""
        stream.write(self._bytes.data)
        for name, x in self._tensors.items():
            stream.seek(self._entries[name].start)
            stream.write(x.reshape(-1).view(torch.uint8).numpy().data)

    def _read(self, entry: Entry) -> Tensor:
        assert entry.dtype is not None
        content = torch.from_numpy(np.array(self._bytes[entry.start : entry.stop]))
        return content.view(entry.dtype).reshape(entry.shape)
