"""A model's state beside its parameters' values, kept while its code or our own runs."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InvalidInputError
from ..memory import ran_out

__all__ = ["copied", "kept", "restored_on_error", "same_bits", "write"]

_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_REGISTRIES = [name for name, x in vars(nn.Module()).items() if isinstance(x, dict)]
_NOTHING = object()


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two strided tensors of one dtype hold the same bits: -0 is not 0, NaN may be NaN."""
    a, b = (x.resolve_conj().resolve_neg() for x in (a, b))
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    if a.is_floating_point():
        integer = _INTEGER[a.element_size()]
        a, b = a.view(integer), b.view(integer)
    return torch.equal(a, b)


def write(x: Tensor, value: Tensor) -> None:
    """Give a tensor new values; it stays the same object with the same memory layout."""
    with torch.no_grad():
        x.copy_(value)


@contextmanager
def kept(model: nn.Module, moving: Iterable[Tensor] = ()) -> Iterator[None]:
    """Put everything but the parameters' values back at the end, however the block ends.

    That is: training flags, hooks and all other attributes of every module, buffers and tensors
    held as attributes (the same objects with the same bits), `requires_grad` and `grad` of
    parameters, and the random number generators of Python, NumPy and torch. Lists, dicts and files
    that a hook or a forward pass writes to are beyond reach. Attributes that share memory with a
    parameter, or with one of the `moving` tensors, keep what is written to those.
    """
    modules = list(model.modules())
    attributes = [(holder, dict(holder)) for m in modules for holder in _holders(m)]
    parameters = [(x, x.requires_grad, x.grad) for x in model.parameters()]
    tensors = [(x, x.detach().clone()) for x in _tensors(model, modules, moving)]
    try:
        with _random_state_kept(model), _nothing_cast_before():
            yield
    finally:
        for holder, entries in attributes:
            if list(holder) != list(entries):  # hooks run in the order of their dict
                holder.clear()
            for key, value in entries.items():
                if holder.get(key, _NOTHING) is not value:
                    holder[key] = value
        for x, value in tensors:
            # An untouched tensor is not written to: autograd may hold it for a backward pass.
            if not same_bits(x.detach(), value):
                write(x, value)
        for parameter, requires_grad, grad in parameters:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad


@contextmanager
def restored_on_error(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Put every tensor back, bit for bit, if the block raises; yields copies of their values."""
    tensors = list(tensors)
    values = [x.detach().clone() for x in tensors]
    try:
        yield values
    except BaseException:
        for x, value in zip(tensors, values, strict=True):
            if not same_bits(x.detach(), value):
                write(x, value)
        raise


def copied(model: nn.Module, replaced: dict[int, nn.Parameter] | None = None) -> nn.Module:
    """A deep copy; tensors that a forward pass left in attributes are copied without history.

    `replaced`, by id, are parameters that the copy gets in place of its own copies.

    (`copy.deepcopy` refuses those, such as the weight computed by `torch.nn.utils.weight_norm`.)
    """
    with kept(model):
        for module in model.modules():
            for name, x in vars(module).items():
                if isinstance(x, Tensor) and not x.is_leaf:
                    vars(module)[name] = x.detach()
        try:
            return copy.deepcopy(model, dict(replaced or {}))
        except Exception as error:
            if ran_out(error):
                raise
            raise InvalidInputError(
                f"model: {type(model).__name__} cannot be copied "
                f"({type(error).__name__}: {error}); rescale_ works in place"
            ) from error


def _holders(module: nn.Module) -> list[dict[str, object]]:
    """The dicts that hold a module's attributes, buffers, parameters, submodules and hooks."""
    return [vars(module), *(vars(module)[name] for name in _REGISTRIES if name in vars(module))]


def _tensors(model: nn.Module, modules: list[nn.Module], moving: Iterable[Tensor]) -> list[Tensor]:
    """Buffers and tensors in attributes, unless they share memory with what is to change."""
    owned = {_memory(x) for x in (*model.parameters(), *moving)}
    found: dict[int, Tensor] = {}
    for module in modules:
        for x in (*vars(module).values(), *module._buffers.values()):
            if isinstance(x, Tensor) and x.layout == torch.strided and not x.is_quantized:
                found[id(x)] = x
    return [x for x in found.values() if not x.is_meta and _memory(x) not in owned]


def _memory(x: Tensor) -> object:
    return x.untyped_storage()._cdata if x.layout == torch.strided else id(x)


@contextmanager
def _nothing_cast_before() -> Iterator[None]:
    """Inside autocast, no run meets parameters as an earlier one had cast them."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
        torch.clear_autocast_cache()


@contextmanager
def _random_state_kept(model: nn.Module) -> Iterator[None]:
    devices = sorted({x.device.index or 0 for x in model.parameters() if x.is_cuda})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=devices))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
