"""Safetensors: a length, a header in JSON, then the bytes of all tensors.

The header is written back as it came, so that metadata, order and alignment survive to the byte,
and so do tensors of dtypes that PyTorch does not have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInputError

__all__ = ["Safetensors"]

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class _Entry:
    """One tensor: its dtype, shape and bytes ``start`` to ``stop`` of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class Safetensors:
    """A file of named tensors; those that a model was given are kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
            self._entries = _entries(self._bytes)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path}: it is no safetensors file: {error}") from error
        self._tensors: dict[str, Tensor] = {}

    def choose(self, names: set[str], key: str | None) -> Mapping[str, Tensor]:
        """The tensors with these names."""
        if key is not None:
            raise InvalidInputError("--key: safetensors files hold one set of tensors only")
        found = {name: entry for name, entry in self._entries.items() if name in names}
        if not found:
            some = ", ".join(list(self._entries)[:6])
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

    def _read(self, entry: _Entry) -> Tensor:
        content = torch.from_numpy(np.array(self._bytes[entry.start : entry.stop]))
        return content.view(entry.dtype).reshape(entry.shape)


def _entries(content: np.memmap[Any, np.dtype[np.uint8]]) -> dict[str, _Entry]:
    """The header's entries of known dtype, checked against the size of the file."""
    length = int.from_bytes(content[:8].tobytes(), "little")
    if len(content) < 8 or not 0 < length <= len(content) - 8:
        raise ValueError("its header is longer than the file")
    header = json.loads(content[8 : 8 + length].tobytes())
    found = {}
    for name, fields in header.items():
        if name == _METADATA or fields["dtype"] not in _DTYPES:
            continue
        dtype, shape = _DTYPES[fields["dtype"]], tuple(fields["shape"])
        start, stop = (8 + length + offset for offset in fields["data_offsets"])
        size = math.prod(shape) * dtype.itemsize
        if min(start - 8 - length, *shape, 0) < 0 or stop - start != size or stop > len(content):
            raise ValueError(f"'{name}' does not fit into the file")
        found[name] = _Entry(dtype, shape, start, stop)
    return found
