"""How the state of each optimiser scales: the power of s that a state tensor takes.

A rescaling multiplies an entry of a parameter by s and thereby divides its gradient by s. A state
tensor that sums gradients takes s^-1, one that sums their squares s^-2, an average of parameters
s^1. What is computed from ratios of those, or from signs, takes s^0. Every power follows from the
update formula and the demand that the state be what the gradients g / s would have made of it; what
an optimiser adds to the gradient itself (weight decay) and to a denominator (eps) counts as part of
what it has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

import torch
from torch.optim import Optimizer

from ..errors import InvalidInputError

__all__ = ["POWERS", "check_optimizer", "powers_of"]

_MOMENTS = {"step": 0, "exp_avg": -1, "exp_avg_sq": -2}

# By class of torch.optim; a string tells why there is no such transport.
POWERS: dict[str, Mapping[str, int] | str] = {
    "SGD": {"momentum_buffer": -1},
    "Adam": {**_MOMENTS, "max_exp_avg_sq": -2},
    "AdamW": {**_MOMENTS, "max_exp_avg_sq": -2},
    "NAdam": {**_MOMENTS, "mu_product": 0},
    "RAdam": _MOMENTS,
    "SparseAdam": _MOMENTS,
    "Adamax": {"step": 0, "exp_avg": -1, "exp_inf": -1},
    "Adagrad": {"step": 0, "sum": -2},
    # Its buffer sums gradients divided by their own root mean square.
    "RMSprop": {"step": 0, "square_avg": -2, "grad_avg": -1, "momentum_buffer": 0},
    # acc_delta grows from eps, in proportion to it, by ratios of gradients.
    "Adadelta": {"step": 0, "square_avg": -2, "acc_delta": 0},
    "ASGD": {"step": 0, "eta": 0, "mu": 0, "ax": 1},
    # Step sizes start at lr and follow signs.
    "Rprop": {"step": 0, "prev": -1, "step_size": 0},
    # Its buffer averages gradients; they are orthogonalised anew in every step.
    "Muon": {"momentum_buffer": -1},
    "Adafactor": "it keeps sums over rows and columns of squared gradients whose entries are "
    "rescaled by different factors",
    "LBFGS": "it keeps one history of steps for all parameters, whose curvature is that of the "
    "old coordinates",
}


def check_optimizer(optimizer: object) -> None:
    """Raise unless it is an optimiser."""
    if not isinstance(optimizer, Optimizer):
        raise InvalidInputError(
            f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )


def powers_of(optimizer: Optimizer, declared: Mapping[str, float] | None) -> dict[str, float]:
    """The power of s for each state key: that of the class or its nearest base, and the declared.

    Raises:
        InvalidInputError: the class is unknown and nothing is declared, its state cannot be
            transported, or the declaration is unusable.
    """
    _check_declared(declared)
    name = type(optimizer).__name__
    known: Mapping[str, int] | str | None = None
    for kind in type(optimizer).__mro__:
        if kind.__name__ in POWERS and kind is getattr(torch.optim, kind.__name__, None):
            known = POWERS[kind.__name__]
            break
    if isinstance(known, str):
        raise InvalidInputError(
            f"optimizer: the state of {name} cannot follow a rescaling, because {known}; rescale "
            "without it and make a new one"
        )
    if known is None and declared is None:
        raise InvalidInputError(
            f"optimizer: {name} is unknown; say by powers={{key: power}} which power of s each of "
            "its state tensors takes where a parameter is multiplied by s and its gradient divided "
            "by s (a sum of gradients: -1, of their squares: -2; {} if it has none)"
        )
    return {**(known or {}), **(declared or {})}


def _check_declared(declared: object) -> None:
    if declared is None:
        return
    if not isinstance(declared, Mapping):
        raise InvalidInputError(
            f"powers: expected a dict from state keys to numbers, got {type(declared).__name__}"
        )
    for key, power in declared.items():
        number = isinstance(power, Real) and not isinstance(power, bool)
        if not isinstance(key, str) or not number or not math.isfinite(power):
            raise InvalidInputError(
                f"powers: expected a dict from state keys to finite numbers, got {key!r}: {power!r}"
            )
