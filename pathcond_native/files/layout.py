"""Where the tensors of a safetensors file are: a length, a header in JSON, then their bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidInputError

__all__ = ["Entry", "Layout", "layout_of"]

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
_METADATA = "__metadata__"
_LONGEST_HEADER = 100_000_000  # as in the format's own implementation


@dataclass(frozen=True)
class Entry:
    """One tensor: its dtype, None where PyTorch has none, shape and bytes of the file."""

    dtype: torch.dtype | None
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """A safetensors file: its tensors in the order of their bytes."""

    path: Path
    header: bytes
    """The length and the header, as they are in the file."""
    entries: dict[str, Entry]
    size: int
    """Bytes of the whole file."""


def layout_of(path: Path) -> Layout:
    """Read the header of a file and check it against the file's size.

    Raises:
        InvalidInputError: it is no safetensors file, or a damaged one.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= min(size - 8, _LONGEST_HEADER):
                raise ValueError("its header is longer than the file, or than any header may be")
            text = stream.read(length)
        entries = _entries(json.loads(text, object_pairs_hook=_once), 8 + length, size)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: it is no safetensors file: {error}") from error
    except OSError as error:
        raise InvalidInputError(f"{path}: it cannot be read ({error.strerror})") from error
    return Layout(path, length.to_bytes(8, "little") + text, entries, size)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(x for x in names if names.count(x) > 1)}' is there twice")
    return found


def _entries(header: dict[str, Any], first: int, size: int) -> dict[str, Entry]:
    found = {}
    for name, fields in header.items():
        if name == _METADATA:
            continue
        dtype, shape = _DTYPES.get(fields["dtype"]), tuple(fields["shape"])
        start, stop = (first + offset for offset in fields["data_offsets"])
        fits = first <= start <= stop <= size and min(shape, default=0) >= 0
        if dtype is not None:
            fits &= stop - start == math.prod(shape) * dtype.itemsize
        if not fits:
            raise ValueError(f"'{name}' does not fit into the file")
        found[name] = Entry(dtype, shape, start, stop)
    ordered = dict(sorted(found.items(), key=lambda x: (x[1].start, x[1].stop)))
    end, last = first, ""
    for name, entry in ordered.items():
        if entry.start < end:
            raise ValueError(f"'{name}' and '{last}' overlap")
        end, last = entry.stop, name
    return ordered
