"""A model whose parameters are the tensors of files, whatever of them is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..errors import InvalidInputError
from ..model.state import same_bits

__all__ = ["fit", "refit"]


def fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    """Give a model the tensors of its names, with their dtypes; buffers get copies.

    Args:
        model: its parameters are replaced, ties stay.
        tensors: by name, those of `Mapped`.
        path: of the checkpoint, for messages.

    Returns:
        By name of a tensor, the number of its parameter as ``model.parameters()`` counts.

    Raises:
        InvalidInputError: a tensor is missing, or has another shape or kind of dtype.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    buffers = dict(model.named_buffers(remove_duplicate=False))
    if not tensors.keys() & {*buffers, *(name for held in names.values() for name in held)}:
        some = ", ".join(list(tensors)[:6])
        raise InvalidInputError(
            f"{path}: no tensor has the name of one of the model's; there are {some} …"
        )
    missing = [held[0] for held in names.values() if not any(name in tensors for name in held)]
    persistent = set(model.state_dict(keep_vars=True))
    missing += [name for name in buffers if name in persistent and name not in tensors]
    if missing:
        raise InvalidInputError(
            f"{path}: it lacks {len(missing)} of the model's tensors, '{missing[0]}' first"
        )
    new: dict[int, nn.Parameter] = {}
    for parameter in model.parameters():
        held = [name for name in names[id(parameter)] if name in tensors]
        for name in held:
            _check(name, parameter, tensors[name], path)
            if name != held[0] and not _same(tensors[name], tensors[held[0]]):
                raise InvalidInputError(
                    f"{path}: '{held[0]}' and '{name}' are one parameter of the model, but differ"
                )
        x = tensors[held[0]]
        new[id(parameter)] = nn.Parameter(x, parameter.requires_grad and x.is_floating_point())
    number = {id(parameter): k for k, parameter in enumerate(model.parameters())}
    for module in model.modules():
        for key, old in module._parameters.items():
            if old is not None:
                module._parameters[key] = new[id(old)]
    for name, buffer in buffers.items():
        if name in persistent and name in tensors:
            _check(name, buffer, tensors[name], path)
            owner, _, key = name.rpartition(".")
            model.get_submodule(owner)._buffers[key] = tensors[name].clone()
    if bare := [name for name, x in model.named_buffers() if x.is_meta]:
        raise InvalidInputError(f"model: buffer '{bare[0]}' has no values, nor has {path} any")
    return {name: number[key] for key, held in names.items() for name in held if name in tensors}


def refit(model: nn.Module, tensors: Mapping[str, Tensor], numbers: Mapping[str, int]) -> None:
    """Give the same parameters other tensors; `numbers` is what `fit` returned."""
    parameters = list(model.parameters())
    for name, number in numbers.items():
        parameters[number].data = tensors[name]


def _check(name: str, expected: Tensor, found: Tensor, path: Path) -> None:
    kinds = expected.is_floating_point(), found.is_floating_point()
    if expected.shape != found.shape or (kinds != (True, True) and expected.dtype != found.dtype):
        raise InvalidInputError(
            f"{path}: size mismatch for {name}: the model has {_described(expected)}, "
            f"the file {_described(found)}"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and same_bits(a, b)


def _described(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
