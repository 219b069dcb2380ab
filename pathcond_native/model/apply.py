"""The new values of a model's parameters under a rescaling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from ..engine.factors import Pair, factors
from ..engine.graph import RescalingGraph
from ..errors import VerificationError
from .inputs import is_finite

__all__ = [
    "blocks",
    "derived_refreshed",
    "multipliers",
    "rescaled_block",
    "rescaled_values",
    "scaled",
    "underflowed",
]

Block: TypeAlias = "tuple[slice, ...]"

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
        old = parameter.detach()
        both = multipliers(pair, old.dim(), old.device)
        new = _scaled(old, both)
        _check(info.name, old, new, both, exact)
        found.append((parameter, new))
    return found


def multipliers(pair: Pair, rank: int, device: torch.device | None = None) -> list[Tensor]:
    """What `factors` gave, of the parameter's rank; in one tensor where no range is lost by it."""
    first, second = (torch.from_numpy(x).to(device) for x in pair)
    return _merged([first, second], rank)


def scaled(old: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """old · first · second in float64, rounded once; piece by piece, so that no copy is large."""
    return _scaled(old, _merged([first, second], old.dim()))


def rescaled_block(
    name: str, old: Tensor, both: list[Tensor], place: Block, exact: bool = False
) -> Tensor:
    """The new values of one block of a parameter, with the bits that the whole would have.

    Args:
        name: of the parameter.
        old: the block's values.
        both: `multipliers` of the parameter.
        place: where in the parameter the block is, one slice per axis.
        exact: as for `rescaled_values`.

    Raises:
        VerificationError: as `rescaled_values` does.
    """
    at = [_at(x, place) for x in both]
    new = _product(old, at).to(old.dtype)
    _check(name, old, new, at, exact)
    return new


def blocks(shape: tuple[int, ...], most: int) -> Iterator[Block]:
    """A tensor in blocks that follow one another in memory, of at most so many entries."""
    axis = next((a for a in range(len(shape)) if math.prod(shape[a + 1 :]) <= most), 0)
    step = max(1, most // max(1, math.prod(shape[axis + 1 :])))
    for outer in product(*map(range, shape[:axis])):
        front = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, shape[axis], step) if shape else ():
            piece = slice(start, min(start + step, shape[axis]))
            yield *front, piece, *(slice(0, n) for n in shape[axis + 1 :])
    if not shape:
        yield ()


def _check(name: str, old: Tensor, new: Tensor, both: list[Tensor], exact: bool) -> None:
    """Raise unless new values, old ones times `both`, are in range and, if asked for, exact."""
    if not is_finite(new):
        raise VerificationError(
            f"parameter '{name}' would overflow {old.dtype}; "
            "nothing was changed, use a smaller strength"
        )
    if not exact:
        return
    back = new.double()
    for factor in reversed(both):
        back = back / factor
    if not torch.equal(back, old.double()):
        raise VerificationError(
            f"parameter '{name}' would underflow {old.dtype} and lose bits, so that "
            "the outputs could not stay bit-identical; nothing was changed, use a smaller "
            "strength or no rounding"
        )


def _merged(pair: list[Tensor], rank: int) -> list[Tensor]:
    # A single first factor is near 1, see `factors`: the product of both is as much in range.
    if pair[0].numel() == 1:
        pair = [pair[0] * pair[1]]
    return [x.reshape((1,) * (rank - x.dim()) + x.shape) for x in pair]


def _scaled(old: Tensor, both: list[Tensor]) -> Tensor:
    if old.numel() <= _AT_ONCE:
        return _product(old, both).to(old.dtype)
    new = torch.empty_like(old)
    for place in blocks(tuple(old.shape), _AT_ONCE):
        new[place] = _product(old[place], [_at(x, place) for x in both])
    return new


def _at(factor: Tensor, place: Block) -> Tensor:
    axes = zip(place, factor.shape, strict=True)
    return factor[tuple(part if n > 1 else slice(None) for part, n in axes)]


def _product(old: Tensor, factors: list[Tensor]) -> Tensor:
    result = old * factors[0]
    for factor in factors[1:]:
        result.mul_(factor)
    return result


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
