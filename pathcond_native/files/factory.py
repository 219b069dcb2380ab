"""``package.module:factory``: the user's code builds the model, a checkpoint fills it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Protocol

from torch import Tensor, nn

from ..errors import InvalidInputError
from .example import example_inputs
from .registry import WEIGHTS, reader
from .request import Request
from .torch_model import TorchModel

__all__ = ["Checkpoint", "Weights", "build", "built", "check_inputs"]


class Weights(Protocol):
    """A file of named tensors."""

    def choose(self, names: set[str], key: str | None) -> Mapping[str, Tensor]:
        """The tensors of a model with these names; what is done to them is written."""

    def note(self) -> str | None:
        """What the user should know, if anything."""

    def write(self, stream: IO[bytes]) -> None:
        """Write the file anew, with the tensors as they are now."""


def build(request: Request) -> Checkpoint:
    """Call the factory and load the checkpoint.

    Raises:
        InvalidInputError: one of them cannot be had, or they do not fit each other.
    """
    check_inputs(request)
    model = built(request.model)
    path = request.checkpoint
    weights = None if path is None else _weights(path)
    tensors: Mapping[str, Tensor] = {}
    if weights is not None:
        tensors = weights.choose(set(model.state_dict()), request.key)
        _fill(model, tensors, path)
    checkpoint = Checkpoint(path, model, example_inputs(request.inputs, model), tensors)
    checkpoint.weights, checkpoint.key = weights, request.key
    note = None if weights is None else weights.note()
    checkpoint.notes += [note] if note else []
    return checkpoint


class Checkpoint(TorchModel):
    """A model with a file of weights; tensors that the model does not have stay as they are."""

    weights: Weights | None = None
    key: str | None = None

    def write(self, stream: IO[bytes]) -> None:
        """Write the checkpoint with everything else in it as it came."""
        assert self.weights is not None, "there is no checkpoint to write"
        self.weights.write(stream)

    def read_again(self, path: Path) -> Mapping[str, Tensor]:
        """The model's tensors in another file of the same format."""
        return _weights(path).choose(set(self.model.state_dict()), self.key)


def _weights(path: Path) -> Weights:
    found: Weights = reader(path, WEIGHTS, f"weights ({', '.join(WEIGHTS)})")(path)
    return found


def check_inputs(request: Request) -> None:
    """Raise unless the user has said what the model takes."""
    if not request.inputs:
        raise InvalidInputError(
            f"{request.model}: what does it take? Give --input, such as --input 1x3x224x224"
        )


def built(name: str) -> nn.Module:
    """The model that ``package.module:factory`` returns, or is.

    Raises:
        InvalidInputError: it cannot be had.
    """
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        found = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        model = found if isinstance(found, nn.Module) else found()  # type: ignore[operator]
    except Exception as error:
        raise InvalidInputError(f"{name}: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InvalidInputError(f"{name}: expected a torch.nn.Module, got {type(model).__name__}")
    return model


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path | None) -> None:
    """Load the tensors; the model takes their dtypes, so that values are rounded once."""
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, x in named:
        if name in tensors and x.is_floating_point() and tensors[name].is_floating_point():
            x.data = x.data.to(tensors[name].dtype)
    try:
        missing, _ = model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    loaded = {id(x) for name, x in named if name in tensors}
    missing = [name for name, x in named if name in missing and id(x) not in loaded]
    if missing:
        raise InvalidInputError(
            f"{path}: it lacks {len(missing)} of the model's tensors, '{missing[0]}' first"
        )
