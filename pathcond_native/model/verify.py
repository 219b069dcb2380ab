"""Does a model still compute the same function? Observed without leaving a trace in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InvalidInputError, VerificationError
from .inputs import mode

__all__ = ["TOLERANCE", "Observation", "compare", "observe"]

# Relative to the largest output. Rescaled weights are rounded once, so the outputs of a sound
# rescaling move by a few roundings per layer; a wrong one moves them by order 1.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
# Batch statistics of few values amplify rounding.
TRAINING_FACTOR = 10.0


@dataclass(frozen=True)
class Observation:
    """The floating-point outputs of one run, by their path in the output structure."""

    run: str
    training: bool
    outputs: dict[str, Tensor]


def observe(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool
) -> list[Observation]:
    """Outputs on the example inputs and on random ones, in evaluation and maybe in training mode.

    Buffers and the state of the random number generators are restored; every call of this function
    sees the same random numbers. A training-mode run that raises (batch statistics of a single
    value, for one) is left out.
    """
    runs = [("the example inputs", (args, kwargs)), ("random inputs", _randomised((args, kwargs)))]
    found = []
    for name, call in runs:
        try:
            outputs = _run(model, call, training=False)
        except Exception as error:
            raise InvalidInputError(
                f"model: a forward pass in evaluation mode on {name} failed "
                f"({type(error).__name__}: {error})"
            ) from error
        found.append(Observation(f"evaluation mode, {name}", False, outputs))
    for name, call in runs if training else []:
        try:
            outputs = _run(model, call, training=True)
        except (ValueError, RuntimeError):
            continue
        found.append(Observation(f"training mode, {name}", True, outputs))
    return found


def compare(before: list[Observation], after: list[Observation], slack: float = 1.0) -> float:
    """The largest relative change of an output; raises `VerificationError` if one is too large.

    `slack` multiplies the tolerances.
    """
    worst = 0.0
    runs = {observation.run: observation.outputs for observation in after}
    for observation in before:
        for path, old in observation.outputs.items():
            new = runs.get(observation.run, {}).get(path)
            if new is None or new.shape != old.shape:
                raise VerificationError(
                    f"output {path} is missing or has another shape after rescaling "
                    f"({observation.run}); the model was restored"
                )
            error = _relative_change(old, new)
            tolerance = TOLERANCE.get(old.dtype, TOLERANCE[torch.bfloat16])
            tolerance *= slack * (TRAINING_FACTOR if observation.training else 1.0)
            if not error <= tolerance:
                raise VerificationError(
                    f"rescaling changed output {path} by {error:.1e} relative to its largest entry "
                    f"in {observation.run} (allowed: {tolerance:.0e} for {old.dtype}); "
                    "the model was restored"
                )
            worst = max(worst, error)
    return worst


def _relative_change(old: Tensor, new: Tensor) -> float:
    old, new = old.double(), new.double()
    finite = torch.isfinite(old)
    if not torch.equal(old[~finite].nan_to_num(), new[~finite].nan_to_num()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    old, new = old[finite], new[finite]
    largest, change = float(old.abs().max()), float((new - old).abs().max())
    return change / largest if largest else (0.0 if change == 0.0 else float("inf"))


def _run(
    model: nn.Module, call: tuple[tuple[Any, ...], dict[str, Any]], training: bool
) -> dict[str, Tensor]:
    devices = {x.device.index for x in model.parameters() if x.device.type == "cuda"}
    args, kwargs = pytree.tree_map_only(Tensor, lambda x: x.detach().clone(), call)
    with (
        mode(model, training),
        _buffers_kept(model),
        torch.random.fork_rng(devices=sorted(i for i in devices if i is not None)),
        torch.no_grad(),
    ):
        output = model(*args, **kwargs)
    leaves, _ = pytree.tree_flatten_with_path(output)
    return {
        pytree.keystr(path) or "of the model": leaf.detach().clone()
        for path, leaf in leaves
        if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point
    }


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restore every buffer: the same tensor objects with the same bits."""
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, copy in kept:
                module._buffers[name] = buffer
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)


def _randomised(call: Any) -> Any:
    """The same structure with standard normal numbers in every floating-point tensor."""
    generator = torch.Generator().manual_seed(0)
    draw: Callable[[Tensor], Tensor] = lambda x: (  # noqa: E731
        torch.randn(x.shape, generator=generator).to(x) if x.dtype.is_floating_point else x
    )
    return pytree.tree_map_only(Tensor, draw, call)
