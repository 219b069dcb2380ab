"""`rescale_`: trace, diag(G), solve, apply, verify, and roll back if anything is wrong."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import InvalidInputError, VerificationError
from ..result import SolveResult
from ..solver import solve
from .diag_g import diag_g
from .graph import RescalingGraph
from .inputs import ExampleInputs, as_call, check_model, check_parameters, is_finite
from .report import GroupReport, RescaleReport
from .trace import trace
from .verify import compare, observe

__all__ = ["rescale_"]

_ROUNDING_SLACK = 100.0  # how much rounding may exceed the tolerance once it is known to be that


def rescale_(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    method: Literal["auto", "cd", "newton"] = "auto",
    tol: float | None = None,
    max_sweeps: int | None = None,
    strength: float = 1.0,
    verify: bool = True,
    graph: RescalingGraph | None = None,
    threads: int | None = None,
) -> RescaleReport:
    """Rescale a model in place so that its path kernel is best conditioned (arXiv 2602.19799).

    Every parameter is multiplied by exp(-strength/2 · (B u)_i), where u minimises
    F(u) = p log Σ_i g_i exp((B u)_i) - Σ_i (B u)_i with g = diag(G). The function computed by the
    model does not change, in evaluation mode and in training mode.

    Args:
        model: changed in place: the same Parameter objects get new values. Modes, dtypes, devices,
            buffers, gradients, hooks and `requires_grad` stay as they are.
        example_inputs: a tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments of ``model.forward``.
        method, tol, max_sweeps, threads: passed to `pathcond_native.solve`.
        strength: multiplies u; 0 leaves the model as it is, 1 goes to the optimum.
        verify: compare the outputs before and after, relative to the largest entry of each: 1e-5
            for float32, 1e-12 for float64, 2e-2 for float16, 1e-1 for bfloat16; ten times that in
            training mode, where statistics of few values amplify rounding. Beyond that, up to a
            hundred times as much is accepted if a float64 copy of the model proves it rounding.
        graph: what `trace(model, example_inputs)` returned, to save tracing again.

    Returns:
        What was rescaled, what was not and why.

    Raises:
        InvalidInputError: an argument is unusable, or a parameter is not finite.
        TraceError: the model could not be captured.
        VerificationError: an output changed, or a parameter left its dtype's range.
        After any exception every parameter has the bits it had before.
    """
    if isinstance(strength, bool) or not (
        isinstance(strength, (int, float)) and math.isfinite(strength)
    ):
        raise InvalidInputError(f"strength: expected a finite number, got {strength!r}")
    check_model(model)
    check_parameters(model)
    args, kwargs = as_call(example_inputs)
    clock = _Clock()
    with clock.stage("trace"):
        graph = trace(model, example_inputs) if graph is None else graph
        graph.check(model)
    if not graph.neurons:
        return _report(graph, None, np.zeros(0), math.nan, clock, "it has no rescalable neuron")
    with clock.stage("diag_g"):
        g = diag_g(model, example_inputs, graph=graph).cpu().numpy()
    if not g.any():
        return _report(graph, None, np.zeros(0), math.nan, clock, "no path reaches an output")
    with clock.stage("incidence"):
        B = graph.incidence()
    with clock.stage("solve"):
        result = solve(B, g, method=method, tol=tol, max_sweeps=max_sweeps, threads=threads)
    with clock.stage("apply"):
        u = strength * np.asarray(result.u)
        rescaled = _rescaled(model, graph, u)
    with clock.stage("verify"):
        training = graph.normalises
        before = observe(model, args, kwargs, training) if verify else []

        def write(slack: float) -> float:
            with _or_restore(rescaled):
                for parameter, value in rescaled:
                    _write(parameter, value)
                after = observe(model, args, kwargs, training) if verify else []
                return compare(before, after, slack) if verify else math.nan

        try:
            error = write(slack=1.0)
        except VerificationError:
            if not _is_rounding(model, graph, u, args, kwargs):
                raise
            error = write(slack=_ROUNDING_SLACK)
    return _report(graph, result, u, error, clock, None)


def _rescaled(
    model: nn.Module, graph: RescalingGraph, u: npt.NDArray[np.float64]
) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that change, with their new values: one rounding each."""
    u = np.append(u, 0.0)  # column -1 stands for the scale 1
    changes = []
    for number, (info, parameter) in enumerate(
        zip(graph.parameters, model.parameters(), strict=True)
    ):
        columns = graph.columns(number)
        if columns is None or not u.any():
            continue
        entered, left = (u[side] for side in columns)
        middle = entered.mean()  # λ itself may be out of range where the ratio of two is not
        gain, loss = (
            torch.from_numpy(np.asarray(np.exp(x))).to(parameter.device)
            for x in (0.5 * (entered - middle), 0.5 * (middle - left))
        )
        value = parameter.detach().double().mul_(gain).mul_(loss).to(parameter.dtype)
        if not is_finite(value):
            raise VerificationError(
                f"parameter '{info.name}' would overflow {parameter.dtype}; "
                "nothing was changed, use a smaller strength"
            )
        changes.append((parameter, value))
    return changes


def _is_rounding(
    model: nn.Module,
    graph: RescalingGraph,
    u: npt.NDArray[np.float64],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> bool:
    """Whether the same rescaling preserves the function of a float64 copy of the model.

    Ill-conditioned models (batch statistics of a few values, great depth) amplify the rounding of
    their own parameters beyond any fixed tolerance; a wrong rescaling changes the copy as much.
    """
    if any(parameter.dtype == torch.float64 for parameter in model.parameters()):
        return False
    try:
        twin = copy.deepcopy(model).double()
        args, kwargs = pytree.tree_map_only(
            Tensor, lambda x: x.double() if x.is_floating_point() else x, (args, kwargs)
        )
        before = observe(twin, args, kwargs, graph.normalises)
        for parameter, value in _rescaled(twin, graph, u):
            _write(parameter, value)
        compare(before, observe(twin, args, kwargs, graph.normalises))
    except Exception:
        return False
    return True


def _write(parameter: nn.Parameter, value: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value)


@contextmanager
def _or_restore(changes: list[tuple[nn.Parameter, Tensor]]) -> Iterator[None]:
    """Put every parameter back, bit for bit, if the block raises."""
    kept = [parameter.detach().clone() for parameter, _ in changes]
    try:
        yield
    except BaseException:
        for (parameter, _), value in zip(changes, kept, strict=True):
            _write(parameter, value)
        raise


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def _report(
    graph: RescalingGraph,
    result: SolveResult | None,
    u: npt.NDArray[np.float64],
    error: float,
    clock: _Clock,
    nothing_because: str | None,
) -> RescaleReport:
    groups = []
    for group in graph.groups if result else ():
        scales = np.exp(0.5 * u[group.start : group.start + group.size])
        groups.append(GroupReport(group.name, group.size, float(scales.min()), float(scales.max())))
    return RescaleReport(
        neurons=graph.shape[1],
        groups=tuple(groups),
        pinned=graph.pinned,
        unsupported=graph.unsupported,
        objective=result.objective if result else math.nan,
        initial_objective=result.initial_objective if result else math.nan,
        gradient_norm=result.gradient_norm if result else math.nan,
        max_relative_error=error,
        seconds=clock.seconds,
        result=result,
        nothing_because=nothing_because,
    )
