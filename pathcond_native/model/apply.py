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
from torch.autograd.graph import increment_version
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from .. import _core
from ..device_arrays import on_device
from ..device_scaling import Scaling, scale_on_device, scaling
from ..engine.factors import Pair, factors, multiplied
from ..engine.graph import RescalingGraph
from ..errors import VerificationError
from .inputs import is_finite
from .scaled import seen_by_numpy
from .state import write

__all__ = [
    "blocks",
    "derived_refreshed",
    "multipliers",
    "rescale_parameters",
    "rescaled_block",
    "scaled",
    "underflowed",
]

Block: TypeAlias = "tuple[slice, ...]"

_AT_ONCE = 1 << 20  # entries of a parameter
_NATIVE = (torch.float32, torch.float64)
_ONE = np.ones((1, 1))


def rescale_parameters(
    model: nn.Module,
    graph: RescalingGraph,
    exponents: npt.NDArray[np.float64],
    *,
    exact: bool = False,
) -> dict[str, int]:
    """Give the parameters their new values, computed in float64 and rounded once.

    Args:
        model: changed in place, parameter by parameter.
        graph: of the model.
        exponents: log2 λ per neuron, shape (H,).
        exact: refuse values that are not the old ones times a power of two.

    Returns:
        By the name of each parameter that changed, how many entries underflowed.

    Raises:
        VerificationError: a value overflows its dtype, or is not exact although it has to be. Some
            parameters are changed then: whoever calls has copies.
    """
    exponents = graph.extended(exponents)
    found: dict[str, int] = {}
    if not exponents.any():
        return found
    on_devices: dict[torch.device, dict[str, tuple[nn.Parameter, Scaling]]] = {}
    for number, (info, parameter) in enumerate(
        zip(graph.parameters, model.parameters(), strict=True)
    ):
        pair = factors(graph, exponents, number)
        if pair is None:
            continue
        old = parameter.detach()
        there = None if exact else _on_device(old, pair)
        if there is not None:
            found[info.name] = 0  # in its place
            on_devices.setdefault(old.device, {})[info.name] = parameter, there
            continue
        both = multipliers(pair, old.dim(), old.device)
        lost = None if exact else _scaled_in_place(info.name, old, both)
        if lost is None:
            new = _scaled(old, both)
            _check(info.name, old, new, exact)
            lost = underflowed(old, new)
            write(parameter, new)
        else:
            increment_version(parameter)
        found[info.name] = lost
    for together in on_devices.values():
        found.update(_scaled_on_device(together))
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
        exact: as for `rescale_parameters`.

    Raises:
        VerificationError: as `rescale_parameters` does.
    """
    new = _product(old, [_at(x, place) for x in both]).to(old.dtype)
    _check(name, old, new, exact)
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


def _check_range(name: str, dtype: torch.dtype, finite: bool) -> None:
    if not finite:
        raise VerificationError(
            f"parameter '{name}' would overflow {dtype}; "
            "nothing was changed, use a smaller strength"
        )


def _check(name: str, old: Tensor, new: Tensor, exact: bool) -> None:
    """Raise unless new values are in range and, if asked for, the old ones times powers of two."""
    _check_range(name, old.dtype, is_finite(new))
    if exact and not torch.equal(torch.frexp(new).mantissa, torch.frexp(old).mantissa):
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


def _on_device(x: Tensor, pair: Pair) -> Scaling | None:
    """How a tensor's device scales it in place; None if that has to be done without."""
    if not on_device(x) or type(x) is not Tensor or x.is_neg() or not x.numel():
        return None
    return scaling(x, [factor.numpy() for factor in multipliers(pair, x.dim())])


def _scaled_on_device(together: dict[str, tuple[nn.Parameter, Scaling]]) -> dict[str, int]:
    """Scale tensors of one device, by name; how many entries of each underflow."""
    harmed = scale_on_device([scaling for _, scaling in together.values()])
    for parameter, _ in together.values():
        increment_version(parameter)
    found = {}
    for (name, (parameter, _)), (not_finite, lost) in zip(together.items(), harmed, strict=True):
        _check_range(name, parameter.dtype, not not_finite)
        found[name] = lost
    return found


def _scaled_in_place(name: str, x: Tensor, both: list[Tensor]) -> int | None:
    """Scale a tensor in one pass, and count what underflows; None if that has to be done without.

    Autograd does not see it.
    """
    if x.device.type != "cpu" or x.dtype not in _NATIVE or not x.is_contiguous():
        return None
    first, second = (*(_as_matrix(factor, x.shape) for factor in both), _ONE)[:2]
    matrix = seen_by_numpy(x.view((len(x), -1) if x.dim() > 1 and x.numel() else (1, x.numel())))
    if first is None or second is None or not matrix.flags.writeable:
        return None
    largest, lost = _core.scale(matrix, first, second, matrix, torch.get_num_threads())
    _check_range(name, x.dtype, math.isfinite(largest))
    return lost


def _as_matrix(factor: Tensor, shape: torch.Size) -> npt.NDArray[np.float64] | None:
    """A factor of a tensor that is seen as a matrix of its first axis by all others.

    It varies along rows or along columns; None if it does along both.
    """
    if len(shape) < 2:
        return factor.reshape(1, -1).numpy()
    if factor.shape[1:].numel() == 1:
        return factor.reshape(-1, 1).numpy()
    return factor[0].expand(shape[1:]).reshape(1, -1).numpy() if len(factor) == 1 else None


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
    """old · factors in float64; with the bits of `_core.scale`."""
    result = old * factors[0]
    if len(factors) == 1:
        return result
    first, second = factors
    if all(_is_normal(limit * first).all() for limit in _limits(old.dtype)):
        return result.mul_(second)
    rare = (old != 0) & ~_is_normal(result)
    result.mul_(second)
    if rare.any():
        parts = (x.expand(old.shape)[rare].numpy(force=True) for x in (old.double(), first, second))
        result[rare] = torch.from_numpy(multiplied(*parts)).to(result.device)
    return result


def _limits(dtype: torch.dtype) -> tuple[float, float]:
    """The smallest and the largest number of a type."""
    info = torch.finfo(dtype)
    return info.smallest_normal * info.eps, info.max


def _is_normal(x: Tensor) -> Tensor:
    size, limits = x.abs(), torch.finfo(x.dtype)
    return (size >= limits.smallest_normal) & (size <= limits.max)


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
