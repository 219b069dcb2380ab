"""A model file and what belongs beside it, each written in one step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import IO

from .atomic import write_atomically
from .registry import ModelFile

__all__ = ["save"]


def save(file: ModelFile, output: Path) -> None:
    """Write a model; what it refers to is there before it is.

    Raises:
        OutputError: it cannot be written; the old file is still there.
        VerificationError: what was written does not read back as it should; the same.
    """
    for path, content in file.beside(output):
        write_atomically(path, partial(_put, content), like=file.path)
    write_atomically(output, file.write, check=file.check, like=file.path)


def _put(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)
