"""What the user asks for: which model, with which weights and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """A model as named on the command line."""

    model: str
    """A file, or ``package.module:factory``."""
    checkpoint: Path | None = None
    """The file with the factory's weights."""
    key: str | None = None
    """Where the weights are in a checkpoint that holds more."""
    inputs: tuple[str, ...] = ()
    """One ``SHAPE[:DTYPE]`` per positional argument of the model, such as ``1x3x224x224``."""
