"""Which format a file has, and what reads it: one entry per format."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from ..errors import InvalidInputError
from .request import Request

if TYPE_CHECKING:
    from ..engine.report import RescaleReport
    from ..engine.stats import Stats

__all__ = [
    "MODELS",
    "WEIGHTS",
    "ModelFile",
    "is_factory",
    "needs",
    "open_model",
    "reader",
    "same_format",
]


class ModelFile(Protocol):
    """A model with the file that its weights are in."""

    path: Path | None
    """The file; None for the random weights of a factory."""
    notes: list[str]
    """What the user should know."""

    def rescale(self, **options: Any) -> RescaleReport:
        """Rescale the model in memory; options are those of `rescale_`."""

    def stats(self) -> Stats:
        """What `pathcond_native.stats` says."""

    def beside(self, output: Path) -> list[tuple[Path, bytes]]:
        """Files that have to stand beside `output`, which will refer to them."""

    def write(self, stream: IO[bytes]) -> None:
        """Write the file anew, with the values that the model has now."""

    def check(self, written: Path) -> None:
        """Raise `VerificationError` unless a file holds what `write` was to put there."""


# Suffix -> where its reader is: a function of a Request that returns a ModelFile.
MODELS = {".pt2": "exported:read", ".onnx": "onnx_graph:read"}

# Formats of bare weights, for models that a factory builds: a function of a Path.
_STATE_DICT = "state_dict:StateDict"
WEIGHTS = {
    ".safetensors": "safetensors:Safetensors",
    ".pt": _STATE_DICT,
    ".pth": _STATE_DICT,
    ".bin": _STATE_DICT,
    ".ckpt": _STATE_DICT,
}

_NEEDS = {".onnx": ("onnx", ("onnx", "onnxruntime", "scipy"))}
_TORCH = ("torch", ("torch", "scipy"))
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_factory(model: str) -> bool:
    """Whether MODEL names a function rather than a file."""
    return _FACTORY.fullmatch(model) is not None and not Path(model).exists()


def needs(model: str) -> tuple[str, tuple[str, ...]]:
    """The extra of this package that brings what MODEL takes, and the packages themselves."""
    return _TORCH if is_factory(model) else _NEEDS.get(Path(model).suffix.lower(), _TORCH)


def open_model(request: Request) -> ModelFile:
    """Read the model that was asked for.

    Raises:
        InvalidInputError: it cannot be read, or is of no format known here.
    """
    if is_factory(request.model):
        from .factory import build

        return build(request)
    path = Path(request.model)
    if path.suffix.lower() in WEIGHTS:
        raise InvalidInputError(
            f"{path}: weights alone are no model; name what builds it: "
            f"package.module:factory --checkpoint {path}"
        )
    read = reader(
        path, MODELS, "a .onnx file, an exported program (.pt2), or package.module:factory"
    )
    for option, given in (("--checkpoint", request.checkpoint), ("--key", request.key)):
        if given is not None:
            raise InvalidInputError(f"{option}: only package.module:factory takes one")
    return cast("ModelFile", read(request))


def same_format(a: Path, b: Path) -> bool:
    """Whether two names stand for files of one format."""
    formats = {**MODELS, **WEIGHTS}
    return formats.get(a.suffix.lower(), a) == formats.get(b.suffix.lower(), b)


def reader(path: Path, formats: dict[str, str], expected: str) -> Callable[[Any], Any]:
    """What reads a file of this name.

    Raises:
        InvalidInputError: there is no such file, or its format is not among `formats`.
    """
    suffix = path.suffix.lower()
    if suffix not in formats:
        raise InvalidInputError(f"{path}: expected {expected}")
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no such file")
    module, _, name = formats[suffix].partition(":")
    found: Callable[[Any], Any] = getattr(import_module(f".{module}", __package__), name)
    return found
