"""State dicts and training checkpoints as `torch.save` writes them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import InvalidInputError

__all__ = ["StateDict"]

_OPTIMIZER = (
    "what the checkpoint keeps of an optimiser (its '{}') was not rescaled along: start it anew, "
    "or rescale in Python with rescale_(model, inputs, optimizer=optimizer)"
)

_FORBIDDEN = re.compile(r"Unsupported global: GLOBAL (\S+)")


class StateDict:
    """Everything that the file holds, whatever it is; tied tensors stay tied.

    Loaded with `weights_only`, so that nothing in the file is run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._held: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if named := _FORBIDDEN.search(str(error)):
                raise InvalidInputError(
                    f"{path}: torch.load(weights_only=True) refuses it, since it holds more than "
                    f"weights ({named[1]}); save model.state_dict() instead"
                ) from error
            raise InvalidInputError(
                f"{path}: torch.load(weights_only=True) refuses it: damaged, or no file of "
                f"torch.save ({type(error).__name__}: {str(error).partition('. ')[0]})"
            ) from error
        self._zipped = zipfile.is_zipfile(path)

    def choose(self, names: set[str], key: str | None) -> Mapping[str, Tensor]:
        """The state dict that has such names: the file itself, or one of its entries."""
        if not isinstance(self._held, Mapping):
            raise InvalidInputError(
                f"{self._path}: expected a state dict, got {type(self._held).__name__}"
            )
        if key is not None and key not in self._held:
            raise InvalidInputError(
                f"--key: {self._path} has no '{key}', but {_listed(self._held)}"
            )
        places = {key: self._held[key]} if key is not None else {"": self._held, **self._held}
        found = {
            place: x
            for place, x in places.items()
            if isinstance(x, Mapping) and any(isinstance(x.get(name), Tensor) for name in names)
        }
        if not found:
            raise InvalidInputError(
                f"{self._path}: no tensor has the name of one of the model's; there are "
                f"{_listed(self._held if key is None else self._held[key])}"
            )
        if len(found) > 1:
            raise InvalidInputError(
                f"{self._path}: several entries fit the model; choose with --key: {_listed(found)}"
            )
        [(_, chosen)] = found.items()
        return {name: x for name, x in chosen.items() if isinstance(x, Tensor) and name in names}

    def note(self) -> str | None:
        """That an optimiser's state does not follow."""
        keys = [x for x in self._held if isinstance(x, str) and "optim" in x.lower()]
        return _OPTIMIZER.format(keys[0]) if keys else None

    def write(self, stream: IO[bytes]) -> None:
        """Save the same object, in the container that it came in."""
        torch.save(self._held, stream, _use_new_zipfile_serialization=self._zipped)


def _listed(held: Any) -> str:
    names = [repr(x) for x in held] if isinstance(held, Mapping) else [type(held).__name__]
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
