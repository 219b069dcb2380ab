"""The new values of a model's parameters under a rescaling."""

from __future__ import annotations

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

__all__ = ["refresh_derived", "rescaled_values"]

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
        columns = graph.columns(number)
        if columns is None:
            continue
        entered, left = (exponents[side] for side in columns)
        middle = np.rint(entered.mean())  # λ itself may be out of range, the ratio of two is not
        factors = [
            torch.from_numpy(power_of_two(x)).to(parameter.device)
            for x in (entered - middle, middle - left)
        ]
        old = parameter.detach()
        new = _scaled(old, *factors)
        if not is_finite(new):
            raise VerificationError(
                f"parameter '{info.name}' would overflow {parameter.dtype}; "
                "nothing was changed, use a smaller strength"
            )
        if exact and not torch.equal(new / factors[1] / factors[0], old.double()):
            raise VerificationError(
                f"parameter '{info.name}' would underflow {parameter.dtype} and lose bits, so that "
                "the outputs could not stay bit-identical; nothing was changed, use a smaller "
                "strength or no rounding"
            )
        found.append((parameter, new))
    return found


def _scaled(old: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """old · first · second in float64, rounded once; piece by piece, so that no copy is large."""
    if old.numel() <= _AT_ONCE:
        return (old * first).mul_(second).to(old.dtype)
    first, second = (x.reshape((1,) * (old.dim() - x.dim()) + x.shape) for x in (first, second))
    new = torch.empty_like(old)
    rows = max(1, _AT_ONCE * old.shape[0] // old.numel())
    for start in range(0, old.shape[0], rows):
        piece = slice(start, start + rows)
        a, b = (x[piece] if x.shape[0] > 1 else x for x in (first, second))
        new[piece] = (old[piece] * a).mul_(b)
    return new


def refresh_derived(model: nn.Module) -> None:
    """Recompute the weights that `torch.nn.utils.weight_norm` and pruning keep as attributes.

    They do so before every forward pass; until then the attribute would show the old weight.
    """
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (BasePruningMethod, WeightNorm)):
                hook(module, ())
