"""Does a model still compute the same function? Observed without leaving a trace in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..engine.tolerance import TOLERANCE as _TOLERANCE
from ..errors import InvalidInputError, VerificationError
from ..memory import ran_out
from .inputs import Call, mode
from .precision import full_precision
from .state import same_bits

__all__ = [
    "TOLERANCE",
    "Change",
    "Observation",
    "Run",
    "changes",
    "mode_of",
    "observe",
    "runs",
    "tolerance",
]

TOLERANCE = {getattr(torch, name): allowed for name, allowed in _TOLERANCE.items()}


@dataclass(frozen=True)
class Run:
    """One way to call the model. What is not `required` is left out if the model raises.

    A `spare` one is only made where no run of the same mode came before it.
    """

    name: str
    call: Call
    training: bool
    required: bool
    spare: bool = False


@dataclass(frozen=True)
class Observation:
    """The tensors that one run returned, by their path in the output."""

    run: str
    training: bool
    outputs: dict[str, Tensor]


@dataclass(frozen=True)
class Change:
    """How far one output moved, relative to its largest entry; `allowed` is 0 for the same bits."""

    run: str
    output: str
    dtype: torch.dtype
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the change is within what is allowed; NaN is not."""
        return self.error <= self.allowed

    def describe(self) -> str:
        """What changed, where, and what would have been allowed, for an error message."""
        if self.allowed == 0.0:
            limit = f"expected the same bits of {self.dtype}"
        else:
            limit = f"allowed: {self.allowed:.0e} for {self.dtype}"
        return (
            f"rescaling changed output {self.output} by {self.error:.1e} relative to its largest "
            f"entry in {self.run} ({limit}); the model was restored"
        )


def runs(call: Call) -> list[Run]:
    """Evaluation mode on the example inputs and on random ones, training mode on random ones.

    Training mode takes the example inputs if it refuses others; on both, it would show little that
    the other three do not.
    Random inputs are standard normal numbers in place of floating-point entries; integer tensors
    keep their entries in another order (token numbers stay in range), masks and sparse tensors stay
    as they are.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(x: Tensor) -> Tensor:
        if x.layout is not torch.strided:
            return x
        if x.is_floating_point():
            return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        if x.dtype == torch.bool or x.is_complex() or x.is_meta:
            return x
        order = torch.randperm(x.numel(), generator=generator).to(x.device)
        return x.reshape(-1)[order].reshape(x.shape)

    random = pytree.tree_map_only(Tensor, draw, call)
    example = "the example inputs"
    return [
        Run(f"evaluation mode, {example}", call, False, required=True),
        Run("evaluation mode, random inputs", random, False, required=False),
        Run("training mode, random inputs", random, True, required=False),
        Run(f"training mode, {example}", call, True, required=False, spare=True),
    ]


def mode_of(run: str) -> str:
    """The first words of a run's name."""
    return run.partition(",")[0]


def observe(model: nn.Module, wanted: Iterable[Run]) -> list[Observation]:
    """What the model returns in each run; the model is left as it was, see `state.kept`.

    Every run sees the same random numbers each time. Modules compiled by `torch.compile` run
    uncompiled. Runs that raise are left out unless they are required.

    Raises:
        InvalidInputError: a required run raised, or the forward pass changed a parameter.
    """
    found: list[Observation] = []
    versions = [x._version for x in model.parameters()]
    for run in wanted:
        if run.spare and any(run.training == made.training for made in found):
            continue
        try:
            with full_precision():
                outputs = _run(model, run)
        except Exception as error:
            if ran_out(error):
                raise
            if run.required:
                raise InvalidInputError(
                    f"model: a forward pass in {run.name} failed ({type(error).__name__}: {error})"
                ) from error
        else:
            found.append(Observation(run.name, run.training, outputs))
        for (name, x), version in zip(model.named_parameters(), versions, strict=True):
            if x._version != version:
                raise InvalidInputError(
                    f"model: its forward pass in {run.name} changes its parameter '{name}'"
                )
    return found


def changes(
    before: list[Observation],
    after: list[Observation],
    *,
    finest: float = 0.0,
    exact: bool = False,
) -> list[Change]:
    """How far each output moved.

    Allowed is the tolerance of the output's dtype, or `finest` where that is more: a bfloat16 model
    may return float32. `exact` allows no change at all in evaluation mode; integers are never
    allowed to change.

    Raises:
        VerificationError: a run or an output is missing, new, or has another shape or dtype.
    """
    old_outputs, new_outputs = _by_place(before), _by_place(after)
    for place in old_outputs.keys() | new_outputs.keys():
        a, b = old_outputs.get(place), new_outputs.get(place)
        if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            raise VerificationError(
                f"rescaling changed whether output {place[1]} exists in {place[0]}, or its shape "
                "or dtype; the model was restored"
            )
    training = {observation.run for observation in before if observation.training}
    found = []
    for (run, path), old in old_outputs.items():
        new = new_outputs[run, path]
        identical = same_bits(old, new)
        real = old.is_floating_point() or old.is_complex()
        allowed = max(finest, TOLERANCE.get(_real_dtype(old), TOLERANCE[torch.bfloat16]))
        if not real or (exact and run not in training):
            allowed = 0.0
        error = 0.0 if identical else _relative_change(old, new)
        if allowed == 0.0 and not identical:
            error = max(error, torch.finfo(torch.float64).tiny)
        found.append(Change(run, path, old.dtype, error, allowed))
    return found


def tolerance(model: nn.Module) -> float:
    """The tolerance of a model's finest floating-point parameters."""
    return min(
        (TOLERANCE[x.dtype] for x in model.parameters() if x.dtype in TOLERANCE), default=0.0
    )


def _relative_change(old: Tensor, new: Tensor) -> float:
    """max|new - old| / max|old| over finite entries; infinite if the others differ."""
    if old.is_complex():
        old, new = torch.view_as_real(old), torch.view_as_real(new)
    old, new = old.double(), new.double()
    finite = torch.isfinite(old)
    if not torch.equal(old[~finite].nan_to_num(), new[~finite].nan_to_num()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    old, new = old[finite], new[finite]
    largest, change = float(old.abs().max()), float((new - old).abs().max())
    return change / largest if largest else (0.0 if change == 0.0 else float("inf"))


def _real_dtype(x: Tensor) -> torch.dtype:
    return x.dtype.to_real() if x.is_complex() else x.dtype


def _by_place(observations: list[Observation]) -> dict[tuple[str, str], Tensor]:
    return {(o.run, path): x for o in observations for path, x in o.outputs.items()}


def _run(model: nn.Module, run: Run) -> dict[str, Tensor]:
    args, kwargs = pytree.tree_map_only(Tensor, lambda x: x.detach().clone(), run.call)
    with ExitStack() as stack:
        if any("_orig_mod" in m._modules or m._compiled_call_impl for m in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(mode(model, run.training))
        return {path: x.detach().clone() for path, x in _tensors(model(*args, **kwargs))}


def _tensors(output: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor inside an output: containers, dataclasses and what pytree knows of."""
    for path, leaf in pytree.tree_flatten_with_path(output)[0]:
        place = pytree.keystr(path)
        if isinstance(leaf, Tensor):
            yield place or "of the model", leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            for name, x in _tensors(vars(leaf)):
                yield place + name, x
