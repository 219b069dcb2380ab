"""Models whose parameters take no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["parameters_on_meta"]


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules built in the block keep their parameters on the meta device.

    A parameter loses its memory as soon as a module gets it, mostly before it is initialised.
    Buffers and other tensors are real: checkpoints need not hold those, and what they hold may
    decide how a model is traced.
    """
    register = nn.Module.register_parameter
    bare: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # one parameter may have two names

    def without_memory(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if type(parameter) is nn.Parameter and not parameter.is_meta:
            if parameter not in bare:
                bare[parameter] = _on_meta(parameter)
            parameter = bare[parameter]
        register(module, name, parameter)

    nn.Module.register_parameter = without_memory  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _on_meta(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
