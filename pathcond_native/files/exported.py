"""Exported programs (``.pt2``): the graph stays, its parameters get new values."""

from __future__ import annotations

import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..errors import InvalidInputError
from ..model.inputs import ExampleInputs
from .example import example_inputs
from .request import Request
from .torch_model import TorchModel

__all__ = ["Exported", "read"]

_EXTRA = re.compile(r"(?:^|/)extra(?:_files)?/(.+)")  # the second in files of torch before 2.8
_ONE_MODE = "an exported program has one mode, that of its export; what it computes there is kept"


def read(request: Request) -> Exported:
    """Load an exported program; torch.export.load uses pickle, so only from whom you trust."""
    return Exported(Path(request.model), request.inputs)


class Exported(TorchModel):
    """What `torch.export.save` wrote; extra files and example inputs survive."""

    def __init__(self, path: Path, inputs: tuple[str, ...]) -> None:
        self._extra = _extra_files(path)
        self._program = _loaded(path, self._extra)
        module = self._program.module()
        examples = example_inputs(inputs, module) if inputs else _own(path, self._program, module)
        tensors = {n: x for n, x in self._program.state_dict.items() if isinstance(x, Tensor)}
        super().__init__(path, module, examples, tensors)
        self.notes.append(_ONE_MODE)

    def write(self, stream: IO[bytes]) -> None:
        """Save the program with its graph and everything else as it came."""
        with _quiet():
            torch.export.save(self._program, stream, extra_files=self._extra)

    def read_again(self, path: Path) -> Mapping[str, Tensor]:
        """The state of a program."""
        return dict(_loaded(path, {}).state_dict)


def _loaded(path: Path, extra: dict[str, Any]) -> ExportedProgram:
    try:
        with _quiet():
            return torch.export.load(path, extra_files=extra)
    except Exception as error:
        raise InvalidInputError(
            f"{path}: torch.export.load cannot read it ({type(error).__name__}: {error})"
        ) from error


def _extra_files(path: Path) -> dict[str, Any]:
    """The names of a program's extra files; loading fills in their contents."""
    if not zipfile.is_zipfile(path):
        raise InvalidInputError(f"{path}: it is no exported program, or a damaged one")
    with zipfile.ZipFile(path) as archive:
        found = map(_EXTRA.search, archive.namelist())
        return {match[1]: "" for match in found if match}


def _own(path: Path, program: ExportedProgram, module: nn.Module) -> ExampleInputs:
    """The inputs that a program was exported with, or new ones of the same shapes."""
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        if args and kwargs:
            raise InvalidInputError(
                f"{path}: it takes both positional and keyword arguments; export it with one kind"
            )
        return dict(kwargs) if kwargs else tuple(args)
    names = program.graph_signature.user_inputs
    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    shapes = [held.get(name) if isinstance(name, str) else None for name in names]
    specs = [_spec(x) for x in shapes if isinstance(x, Tensor)]
    if len(specs) < len(names) or None in specs:
        raise InvalidInputError(
            f"{path}: it holds no example inputs, and their shapes are not fixed; give --input"
        )
    return example_inputs(tuple(spec for spec in specs if spec), module)


def _spec(x: Tensor) -> str | None:
    if not x.dim() or not all(isinstance(n, int) for n in x.shape):
        return None
    return "x".join(map(str, x.shape)) + ":" + str(x.dtype).removeprefix("torch.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch warns, and logs, about what the user of a file cannot change."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
