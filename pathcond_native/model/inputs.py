"""Validation of models and example inputs, before any work."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from ..errors import InvalidInputError
from .scaled import extremes
from .state import kept

__all__ = [
    "Call",
    "ExampleInputs",
    "as_call",
    "check_call",
    "check_model",
    "check_parameters",
    "is_finite",
    "mode",
    "unwrapped",
]

ExampleInputs: TypeAlias = "Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]"
Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

_EXPECTED = (
    "example_inputs: expected a tensor, a tuple or list of positional arguments, or a dict of "
    "keyword arguments"
)


def as_call(example_inputs: ExampleInputs) -> Call:
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
    args, kwargs = pytree.tree_map_only(Tensor, _ordinary, (args, kwargs))
    return args, kwargs


def _ordinary(x: Tensor) -> Tensor:
    """Tensors made under `torch.inference_mode` cannot be traced; their copies can."""
    if not x.is_inference():
        return x
    with torch.inference_mode(False):
        return x.clone()


def check_call(model: nn.Module, call: Call) -> None:
    """Raise unless the model's forward accepts the call's number and names of arguments."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a forward that is no Python function
        return
    try:
        signature.bind(*call[0], **call[1])
    except TypeError as error:
        given = [type(x).__name__ for x in call[0]] + [f"{key}=..." for key in call[1]]
        raise InvalidInputError(
            f"example_inputs: {type(model).__name__}.forward expects {signature}; "
            f"got ({', '.join(given)}): {error}"
        ) from None


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel and `torch.compile` wrappers."""
    while isinstance(model, nn.Module):
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model.get_submodule("_orig_mod")
        else:
            break
    return model


def check_model(model: nn.Module) -> None:
    """Raise unless `model` is a module whose parameters are plain tensors with shapes."""
    if not isinstance(model, nn.Module):
        raise InvalidInputError(f"model: expected torch.nn.Module, got {type(model).__name__}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InvalidInputError(
            "model: it holds a TorchScript module; pass the module it was made from"
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InvalidInputError(
                f"model: parameter '{name}' is uninitialised; run the model once before"
            )
        if type(parameter.data) is not Tensor or parameter.layout != torch.strided:
            raise InvalidInputError(
                f"model: parameter '{name}' is a {type(parameter.data).__name__} of layout "
                f"{parameter.layout}; expected dense torch.Tensor parameters (gather sharded ones, "
                "rescale before quantising)"
            )
        if parameter.is_inference():
            raise InvalidInputError(
                f"model: parameter '{name}' was made under torch.inference_mode and is read-only; "
                "build or load the model outside of it"
            )


def is_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite, in one pass without a temporary."""
    return all(map(math.isfinite, extremes(x.detach())))


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
        if parameter.is_floating_point() and parameter.dtype not in _FLOATS:
            raise InvalidInputError(
                f"model: parameter '{name}' is {parameter.dtype}; "
                "expected float64, float32, float16 or bfloat16"
            )
        if not is_finite(parameter):
            raise InvalidInputError(f"model: parameter '{name}' holds NaN or infinity")
    if len(devices) > 1:
        listed = ", ".join(f"'{name}' on {device}" for device, name in devices.items())
        raise InvalidInputError(f"model: expected all parameters on one device; got {listed}")


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Set the training flag of every module; at the end the model is as it was, see `kept`.

    The flags are set directly: a module's own `train()` may do more than set them.
    """
    with kept(model):
        for module in model.modules():
            module.training = training
        yield
