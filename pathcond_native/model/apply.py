"""The new values of a model's parameters under a rescaling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from ..errors import VerificationError
from .graph import RescalingGraph
from .inputs import is_finite
from .rounding import power_of_two

__all__ = ["derived_refreshed", "factors", "rescaled_values", "scaled", "underflowed"]

_AT_ONCE = 1 << 20  # entries of a parameter


def rescaled_values(
    model: nn.Module,
    graph: RescalingGraph,
    exponents: npt.NDArray[np.float64],
    *,
    exact: bool = False,
) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that change, each with its new values, computed in float64 and rounded once.

    Args:
        model: not changed.
        graph: of the model.
        exponents: log2 λ per neuron, shape (H,).
        exact: refuse values that are not the old ones times a power of two.

    Raises:
        VerificationError: a value overflows its dtype, or is not exact although it has to be.
    """
    exponents = graph.extended(exponents)
    if not exponents.any():
        return []
    found = []
    for number, (info, parameter) in enumerate(
        zip(graph.parameters, model.parameters(), strict=True)
    ):
        pair = factors(graph, exponents, number)
        if pair is None:
            continue
        first, second = (torch.from_numpy(factor).to(parameter.device) for factor in pair)
        old = parameter.detach()
        new = scaled(old, first, second)
        if not is_finite(new):
            raise VerificationError(
                f"parameter '{info.name}' would overflow {parameter.dtype}; "
                "nothing was changed, use a smaller strength"
            )
        if exact and not torch.equal(new / second / first, old.double()):
            raise VerificationError(
                f"parameter '{info.name}' would underflow {parameter.dtype} and lose bits, so that "
                "the outputs could not stay bit-identical; nothing was changed, use a smaller "
                "strength or no rounding"
            )
        found.append((parameter, new))
    return found


def factors(
    graph: RescalingGraph, exponents: npt.NDArray[np.float64], number: int, power: float = 1.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """s^power, where s is what parameter `number` is multiplied by; None if it is in no neuron.

    Args:
        graph: of the model.
        exponents: `graph.extended` of log2 λ.
        number: as ``model.parameters()`` counts.
        power: any real number.

    Returns:
        Two float64 arrays that broadcast to the parameter's shape; s^power is their product.
    """
    columns = graph.columns(number)
    if columns is None:
        return None
    entered, left = (power * exponents[side] for side in columns)
    middle = np.rint(entered.mean())  # λ itself may be out of range, the ratio of two is not
    return power_of_two(entered - middle), power_of_two(middle - left)


def scaled(old: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """old · first · second in float64, rounded once; piece by piece, so that no copy is large."""
    # A single first factor is near 1, see `factors`: the product of both is as much in range.
    both = [first * second] if first.numel() == 1 else [first, second]
    if old.numel() <= _AT_ONCE:
        return _product(old, both).to(old.dtype)
    both = [x.reshape((1,) * (old.dim() - x.dim()) + x.shape) for x in both]
    new = torch.empty_like(old)
    rows = max(1, _AT_ONCE * old.shape[0] // old.numel())
    for start in range(0, old.shape[0], rows):
        piece = slice(start, start + rows)
        new[piece] = _product(old[piece], [x[piece] if x.shape[0] > 1 else x for x in both])
    return new


def _product(old: Tensor, factors: list[Tensor]) -> Tensor:
    product = old * factors[0]
    for factor in factors[1:]:
        product.mul_(factor)
    return product


def underflowed(old: Tensor, new: Tensor) -> int:
    """How many entries shrank to less than the smallest normal number and so may have lost bits."""
    tiny = torch.finfo(new.dtype).smallest_normal
    if new.numel() == 0 or float(torch.linalg.vector_norm(new, -math.inf)) >= tiny:
        return 0
    pieces = zip(*(torch.split(x.flatten(), _AT_ONCE) for x in (old, new)), strict=True)
    return sum(int(((b.abs() < tiny) & (b.abs() < a.abs())).sum()) for a, b in pieces)


@contextmanager
def derived_refreshed(model: nn.Module) -> Iterator[None]:
    """Recompute, after the block, what `torch.nn.utils.weight_norm` and pruning derive of weights.

    They do so before every forward pass; until then the attribute would show the old weight.
    """
    yield
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (BasePruningMethod, WeightNorm)):
                hook(module, ())
