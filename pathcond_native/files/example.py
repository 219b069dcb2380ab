"""Example inputs from a few words: ``1x3x224x224`` or ``1x128:int64``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InvalidInputError
from .input_spec import parsed

__all__ = ["example_inputs"]

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


def example_inputs(specs: tuple[str, ...], model: nn.Module) -> tuple[Tensor, ...]:
    """One tensor per specification, the same ones every time.

    Args:
        specs: ``SHAPE[:DTYPE]``; without a dtype that of the model's parameters.
        model: to be called with them.

    Returns:
        Standard normal numbers; integers are 0 or 1, which every table of embeddings has.
    """
    floating = (x.dtype for x in model.parameters() if x.is_floating_point())
    usual = next(floating, torch.float32)
    generator = torch.Generator().manual_seed(0)
    return tuple(_draw(*_parsed(spec, usual), generator) for spec in specs)


def _parsed(spec: str, usual: torch.dtype) -> tuple[list[int], torch.dtype]:
    shape, dtype = parsed(spec)
    if dtype is None:
        return shape, usual
    if dtype not in _DTYPES:
        raise InvalidInputError(f"--input: expected a dtype among {', '.join(_DTYPES)}: {spec!r}")
    return shape, _DTYPES[dtype]


def _draw(shape: list[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)
