"""Validation of models and example inputs, before any work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from ..errors import InvalidInputError

__all__ = ["ExampleInputs", "as_call", "check_model", "check_parameters", "is_finite", "mode"]

ExampleInputs: TypeAlias = "Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]"

_EXPECTED = (
    "example_inputs: expected a tensor, a tuple or list of positional arguments, or a dict of "
    "keyword arguments"
)


def as_call(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments for the model's forward."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example_inputs, Tensor):
        args = (example_inputs,)
    elif isinstance(example_inputs, (tuple, list)):
        args = tuple(example_inputs)
    elif isinstance(example_inputs, Mapping):
        kwargs = dict(example_inputs)
        for key in kwargs:
            if not isinstance(key, str):
                raise InvalidInputError(f"{_EXPECTED}; got a dict with the key {key!r}")
    else:
        raise InvalidInputError(f"{_EXPECTED}; got {type(example_inputs).__name__}")
    leaves = pytree.tree_leaves((args, kwargs))
    for leaf in leaves:
        if not isinstance(leaf, (Tensor, int, float, complex, bool, str, type(None))):
            raise InvalidInputError(
                f"{_EXPECTED}, made of tensors, numbers, strings and None; "
                f"got {type(leaf).__name__} inside"
            )
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        raise InvalidInputError(f"{_EXPECTED}; got no tensor in it")
    return args, kwargs


def check_model(model: nn.Module) -> None:
    """Raise unless `model` is a module whose parameters have shapes."""
    if not isinstance(model, nn.Module):
        raise InvalidInputError(f"model: expected torch.nn.Module, got {type(model).__name__}")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InvalidInputError(
                f"model: parameter '{name}' is uninitialised; run the model once before"
            )


def is_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite, in one pass without a temporary."""
    return x.numel() == 0 or all(math.isfinite(float(bound)) for bound in x.detach().aminmax())


def check_parameters(model: nn.Module) -> None:
    """Raise unless every parameter holds finite real numbers, all on one device."""
    devices: dict[torch.device, str] = {}
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise InvalidInputError(
                f"model: parameter '{name}' is on the meta device and has no values; "
                "materialise the model first (Module.to_empty, then load its weights)"
            )
        devices.setdefault(parameter.device, name)
        if parameter.is_complex():
            raise InvalidInputError(f"model: parameter '{name}' is complex; expected real numbers")
        if not is_finite(parameter):
            raise InvalidInputError(f"model: parameter '{name}' holds NaN or infinity")
    if len(devices) > 1:
        listed = ", ".join(f"'{name}' on {device}" for device, name in devices.items())
        raise InvalidInputError(f"model: expected all parameters on one device; got {listed}")


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Set the training flag of every module, and restore each one at the end.

    The flags are set directly: a module's own `train()` may do more than set them.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = training
        yield
    finally:
        for module, flag in flags:
            module.training = flag
