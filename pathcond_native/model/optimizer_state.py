"""Gradients and optimiser state that move along when parameters are rescaled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from ..engine.factors import factors
from ..engine.graph import RescalingGraph
from ..errors import InvalidInputError, VerificationError
from .apply import scaled
from .inputs import is_finite
from .optimizer_powers import check_optimizer, powers_of

__all__ = ["Moving", "moved_values", "moving_tensors"]


@dataclass(frozen=True, eq=False)
class Moving:
    """A tensor of a parameter's shape: `origin` plus what is multiplied by s^power with it."""

    name: str
    parameter: int
    tensor: Tensor
    power: float
    origin: float = 0.0


def moving_tensors(
    model: nn.Module, optimizer: Optimizer, powers: Mapping[str, float] | None
) -> list[Moving]:
    """The gradients of a model and the state that its optimiser keeps for it.

    Parameters that the optimiser does not hold, and those it has no state for yet, have none;
    what it holds beside the model's parameters stays out.

    Raises:
        InvalidInputError: it is no optimiser, not this model's, of an unknown kind, or holds a
            tensor of unknown meaning; a gradient or a state tensor is sparse or no plain tensor.
    """
    check_optimizer(optimizer)
    known = powers_of(optimizer, powers)
    kind = type(optimizer).__name__
    named = list(model.named_parameters())
    held = {id(x) for group in optimizer.param_groups for x in group["params"]}
    if named and not any(id(x) in held for _, x in named):
        raise InvalidInputError(
            f"optimizer: {kind} holds none of the model's parameters; expected the one that trains "
            "this model (not one made for a copy of it, or for copies of its weights)"
        )
    found = []
    for number, (name, parameter) in enumerate(named):
        if parameter.grad is not None:
            grad = Moving(f"the gradient of parameter '{name}'", number, parameter.grad, -1.0)
            _check(grad, parameter, "; call optimizer.zero_grad() before")
            found.append(grad)
        for key, value in (optimizer.state.get(parameter) or {}).items():
            what = f"the state '{key}' that {kind} keeps of parameter '{name}'"
            if key not in known:
                _refuse_tensors(value, kind, key, name)
            elif known[key] and value is not None:
                state = Moving(what, number, value, known[key], _origin(optimizer, parameter, key))
                _check(state, parameter)
                found.append(state)
    return found


def moved_values(
    moving: Iterable[tuple[Moving, Tensor]],
    graph: RescalingGraph,
    exponents: npt.NDArray[np.float64],
) -> Iterator[tuple[Moving, Tensor]]:
    """What changes with its new values, computed in float64 and rounded once.

    Args:
        moving: each with its values from before the rescaling, since some may share memory; not
            changed here.
        graph: of the model.
        exponents: log2 λ per neuron, shape (H,).

    Raises:
        VerificationError: a finite entry would become infinite.
    """
    exponents = graph.extended(exponents)
    if not exponents.any():
        return
    for x, old in moving:
        pair = factors(graph, exponents, x.parameter, x.power)
        if pair is None:
            continue
        first, second = (torch.from_numpy(factor).to(old.device) for factor in pair)
        if x.origin:
            origin = _rounded(x.origin, old)
            new = scaled(old.double() - origin, first, second).add_(origin).to(old.dtype)
        else:
            new = scaled(old, first, second)
        if not is_finite(new) and not torch.equal(torch.isfinite(new), torch.isfinite(old)):
            raise VerificationError(
                f"{x.name} would overflow {old.dtype}; nothing was changed, use a smaller strength"
            )
        yield x, new


def _origin(optimizer: Optimizer, parameter: nn.Parameter, key: str) -> float:
    """What Adagrad's sums of squares start from: no gradient's, so it is not rescaled.

    The group knows, also after a checkpoint was loaded; the defaults are this object's.
    """
    if not (isinstance(optimizer, torch.optim.Adagrad) and key == "sum"):
        return 0.0
    of_parameter = next(
        group for group in optimizer.param_groups if any(x is parameter for x in group["params"])
    )
    name = "initial_accumulator_value"
    return float(of_parameter.get(name, optimizer.defaults[name]))


def _rounded(value: float, like: Tensor) -> float:
    return float(torch.tensor(value, dtype=like.dtype))


def _check(x: Moving, parameter: nn.Parameter, remedy: str = "") -> None:
    value = x.tensor
    if not isinstance(value, Tensor):
        raise InvalidInputError(f"optimizer: {x.name} is no tensor, but {type(value).__name__}")
    if type(value.data) is not Tensor or value.layout != torch.strided:
        raise InvalidInputError(
            f"optimizer: {x.name} is a {type(value.data).__name__} of layout {value.layout}; "
            f"expected a dense torch.Tensor{remedy}"
        )
    if value.device != parameter.device:
        raise InvalidInputError(
            f"optimizer: {x.name} is on {value.device}, the parameter on {parameter.device}"
        )
    if value.numel() > 1 and 0 in value.stride():
        raise InvalidInputError(
            f"optimizer: several entries of {x.name} share one place in memory{remedy}"
        )
    if value.shape != parameter.shape or not value.is_floating_point():
        raise InvalidInputError(
            f"optimizer: {x.name} is {value.dtype} of shape {tuple(value.shape)}; expected real "
            f"numbers of the parameter's shape {tuple(parameter.shape)}"
        )
    if x.origin and bool((value < _rounded(x.origin, value)).any()):
        raise InvalidInputError(
            f"optimizer: {x.name} is below initial_accumulator_value = {x.origin:g}, from which "
            "it should have grown"
        )


def _refuse_tensors(value: object, kind: str, key: str, name: str) -> None:
    if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value)):
        raise InvalidInputError(
            f"optimizer: {kind} keeps a tensor '{key}' of parameter '{name}' whose meaning is "
            f"unknown; say by powers={{'{key}': power}} which power of s it takes where the "
            "parameter is multiplied by s and its gradient divided by s (0: it stays)"
        )
