"""Checkpoints in several safetensors files, as Hugging Face writes them, or in a single one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInputError
from .layout import Entry, Layout, layout_of

__all__ = ["Shards", "is_sharded", "shards_of"]

_INDEX = ".index.json"


@dataclass(frozen=True)
class Shards:
    """The files of a checkpoint, all found to be whole."""

    index: Path | None
    """The file that says which tensor is in which shard; None for a single file."""
    layouts: tuple[Layout, ...]
    where: dict[str, tuple[Layout, Entry]]
    """By name, every tensor of the checkpoint."""
    unlisted: tuple[str, ...]
    """Tensors of shards that the index does not mention."""

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(layout.size for layout in self.layouts)


def is_sharded(path: Path) -> bool:
    """Whether a name stands for a checkpoint in shards: a folder, or an index."""
    return path.is_dir() or path.name.endswith(_INDEX)


def shards_of(path: Path) -> Shards:
    """Find and check the files of a checkpoint.

    Args:
        path: the index, a folder with an index or with one safetensors file, or such a file.

    Raises:
        InvalidInputError: a file is missing or damaged, or index and shards do not fit together.
    """
    path = _in_folder(path) if path.is_dir() else path
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no such file")
    if path.name.endswith(_INDEX):
        return _indexed(path)
    if path.suffix.lower() != ".safetensors":
        raise InvalidInputError(
            f"{path}: expected safetensors, their index (.safetensors{_INDEX}), or a folder with it"
        )
    layout = layout_of(path)
    return Shards(None, (layout,), {n: (layout, x) for n, x in layout.entries.items()}, ())


def _in_folder(folder: Path) -> Path:
    for pattern in (f"*.safetensors{_INDEX}", "*.safetensors"):
        if len(found := sorted(folder.glob(pattern))) == 1:
            return found[0]
        if found:
            raise InvalidInputError(
                f"{folder}: it holds {', '.join(x.name for x in found[:4])}; name the one to take"
            )
    raise InvalidInputError(f"{folder}: it holds neither *.safetensors{_INDEX} nor *.safetensors")


def _indexed(path: Path) -> Shards:
    names = _weight_map(path)
    layouts = {}
    for file in dict.fromkeys(names.values()):
        if not (path.parent / file).is_file():
            raise InvalidInputError(f"{path}: there is no shard {path.parent / file}")
        layouts[file] = layout_of(path.parent / file)
    holders: dict[str, str] = {}
    for file, layout in layouts.items():
        for name in layout.entries:
            if name in holders:
                raise InvalidInputError(
                    f"{path}: '{name}' is both in {holders[name]} and in {file}"
                )
            holders[name] = file
    for name, file in names.items():
        if holders.get(name) != file:
            elsewhere = f", but in {holders[name]}" if name in holders else ""
            raise InvalidInputError(f"{path}: '{name}' is not in the shard {file}{elsewhere}")
    where = {name: (layouts[file], layouts[file].entries[name]) for name, file in names.items()}
    unlisted = tuple(name for name in holders if name not in names)
    return Shards(path, tuple(layouts.values()), where, unlisted)


def _weight_map(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())["weight_map"]
        if not isinstance(found, dict) or not found:
            raise ValueError("'weight_map' is no object with names")
        for file in found.values():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is no name of a file beside it")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{path}: it is no index of shards ({type(error).__name__}: {error})"
        ) from error
    return found
