"""`rescale_`: trace, diag(G), solve, apply, verify, and roll back if anything is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..engine.clock import Clock
from ..engine.criteria import Criterion, check_options, find
from ..engine.found import Found
from ..engine.graph import RescalingGraph
from ..engine.report import RescaleReport, Verification, nothing_done, report_of
from ..engine.rounding import RoundTo
from ..errors import InvalidInputError, VerificationError
from ..memory import exhaustion_told
from .apply import derived_refreshed, rescale_parameters, underflowed
from .checks import check_graph
from .criteria import problem
from .inputs import (
    Call,
    ExampleInputs,
    as_call,
    check_call,
    check_model,
    check_parameters,
    unwrapped,
)
from .interruptions import Interruptions
from .mappings import check_writable
from .optimizer_state import Moving, moved_values, moving_tensors
from .parts import Keep
from .proof import is_rounding
from .spread import spreads
from .state import copied, kept, restored_on_error, same_bits, write
from .trace import trace
from .verify import changes, mode_of, observe, runs, tolerance

__all__ = ["find_scales", "rescale", "rescale_"]


@exhaustion_told("rescale_")
def rescale_(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    criterion: Criterion = "pathcond",
    method: Literal["auto", "cd", "newton"] = "auto",
    tol: float | None = None,
    max_sweeps: int | None = None,
    max_scale: float | None = None,
    strength: float = 1.0,
    round_to: RoundTo | None = None,
    verify: bool = True,
    graph: RescalingGraph | None = None,
    optimizer: Optimizer | None = None,
    powers: Mapping[str, float] | None = None,
    threads: int | None = None,
    spread: bool = False,
) -> RescaleReport:
    """Rescale a model in place so that its path kernel is best conditioned (arXiv 2602.19799).

    Every parameter is multiplied by exp(-strength/2 · (B u)_i), where u minimises
    F(u) = p log Σ_i g_i exp((B u)_i) - Σ_i (B u)_i with g = diag(G). The function computed by the
    model does not change, in evaluation mode and in training mode.

    Tracing and verification run the model, hooks included: what hooks and forward passes write to
    the model, its buffers and the random number generators is undone, what they write elsewhere
    (lists, files, the screen) is not. DataParallel and `torch.compile` wrappers are looked through.

    Args:
        model: changed in place: the same Parameter objects get new values, frozen ones included.
            Modes, dtypes, devices, memory formats, buffers, gradients, hooks and `requires_grad`
            stay as they are. All parameters are float64, float32, float16 or bfloat16, or not
            floating-point and then untouched, on one device. The factors are computed in float64;
            each parameter is rounded once, those of 16 bits by way of float32, as torch does.
        example_inputs: a tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments of ``model.forward``.
        criterion: "pathcond", or a baseline. "enorm" (Stock et al., arXiv 1902.10416): u minimises
            Σ θ_i² exp(-(B u)_i), the sum of squares of the parameters, biases included, that
            neurons rescale. "cle", cross-layer equalisation (Nagel et al., arXiv 1906.04721): of
            every neuron the largest |weight| that enters it equals the largest that leaves it,
            biases aside (`model/equalise.py`). All other arguments act alike. A neuron with
            nothing but zeros on one side stays, as the report's `idle` says.
        method, tol, max_sweeps, threads: passed to `pathcond_native.solve`. "cle" has one method,
            "auto", cycles in the order of the network, on one thread; tol is then the largest
            |log(range that enters / range that leaves)| to reach, default 1e-9.
        max_scale: no λ leaves [1/max_scale, max_scale], whatever `strength` and `round_to` are; u
            is the minimiser among those. Neurons at the bound are the report's `held`: another call
            takes them farther. Default: no bound, so that the result does not depend on how the
            network came scaled; see `benchmarks/results/EVIDENCE.md` for when to bound.
        strength: multiplies u; 0 leaves the model as it is, 1 goes to the optimum.
        round_to: "power_of_two" rounds every λ = exp(strength · u / 2) to a power of two. The
            outputs in evaluation mode then keep every bit, and verification demands that.
        verify: compare the outputs before and after, in evaluation mode on the example inputs and
            on random ones, in training mode on random ones. No output may move by more than 1e-5
            (float32), 1e-12 (float64), 2e-2 (float16) or 1e-1 (bfloat16) of its largest entry.
            A model may amplify rounding beyond that (batch statistics of a few values, great
            depth): more is accepted where a float64 copy proves it to be what rounding each
            parameter once does to this model (`model/proof.py`), as the report then says;
            `round_to` rounds nothing. Integers may not change.
        graph: what `trace(model, example_inputs)` returned, to save tracing again.
        optimizer: the model's. Its state and the parameters' gradients, present ones, are changed
            in place as if all gradients had been seen in the new coordinates, see
            `model/optimizer_powers.py`: where a parameter is multiplied by s, its gradient is
            divided by s. Computed in float64, rounded once; copies are kept meanwhile. All
            optimisers of torch.optim but Adafactor and LBFGS, and their subclasses.
        powers: for other optimisers: the power of s by state key, such as ``{"momentum": -1}``.
        spread: also measure quantiles of diag(G) before and after, for ``report.plot()``, at the
            cost of another diag(G) and of sorting it, one parameter at a time.

    Returns:
        What was rescaled, what was not and why, and how far the outputs moved.

    Raises:
        InvalidInputError: an argument is unusable, a parameter is not finite, the model raised on
            the example inputs, or it is not known how the optimiser's state scales.
        TraceError: the model could not be captured.
        VerificationError: an output changed, or an entry left its dtype's range.
        OutOfMemoryError: memory ran out.
        After any exception the model and the optimiser have the bits they had before. Ctrl-C can
        also come when all is done: they are then rescaled entirely.
    """
    options: dict[str, Any] = {"method": method, "tol": tol, "max_sweeps": max_sweeps}
    options |= {"max_scale": max_scale, "threads": threads}
    check_options(criterion, strength, round_to, verify, options)
    if optimizer is None and powers is not None:
        raise InvalidInputError("powers: expected None where no optimizer is given")
    model = unwrapped(model)
    check_model(model)
    check_parameters(model)
    call = as_call(example_inputs)
    check_call(model, call)
    moving = [] if optimizer is None else moving_tensors(model, optimizer, powers)
    named = [(f"model: parameter '{name}'", x) for name, x in model.named_parameters()]
    check_writable([*named, *((f"optimizer: {x.name}", x.tensor) for x in moving)])
    state, parameters = [x.tensor for x in moving], list(model.parameters())
    clock = Clock()
    with (
        Interruptions() as interruptions,
        torch.inference_mode(False),
        restored_on_error([*parameters, *state]) as originals,
        derived_refreshed(model),
        kept(model, state),
        interruptions.allowed(),
    ):
        if graph is None:
            with clock.stage("trace"):
                graph = trace(model, example_inputs)
        check_graph(graph, model)
        found = find_scales(
            model, example_inputs, graph, criterion, strength, round_to, options, clock
        )
        if isinstance(found, str):
            return nothing_done(criterion, graph, clock.seconds, found)
        log2 = found.log2
        exact = round_to is not None
        measured = None
        if spread:
            with clock.stage("spread"):
                measured = spreads(model, graph, log2)
        moves = list(zip(moving, originals[len(parameters) :], strict=True))
        if verify:
            verification, underflow = _apply_and_verify(
                model, graph, log2, exact, originals[: len(parameters)], moves, call, clock
            )
        else:
            verification = Verification((), math.nan, False)
            with clock.stage("apply"):
                underflow = _apply(model, graph, log2, exact, moves)
        return report_of(
            criterion,
            graph,
            found,
            max_scale,
            verification,
            underflow,
            clock.seconds,
            measured,
        )


def find_scales(
    model: nn.Module,
    example_inputs: ExampleInputs,
    graph: RescalingGraph,
    criterion: Criterion,
    strength: float,
    round_to: RoundTo | None,
    options: Mapping[str, Any],
    clock: Clock,
    keep: Keep | None = None,
) -> Found | str:
    """The scales of a model with finite parameters, which stays as it is.

    Args:
        model, example_inputs, graph, criterion, strength, round_to: as for `rescale_`.
        options: those of `solve`: method, tol, max_sweeps, max_scale, threads.
        clock: gets the stages.
        keep: as for `problem`.

    Returns:
        The scales, or why nothing can be rescaled.
    """
    if not graph.neurons:
        return "it has no rescalable neuron"
    with clock.stage("diag_g" if criterion == "pathcond" else "weights"):
        wanted = problem(criterion, model, example_inputs, graph, keep)
    if wanted.nothing is not None:
        return wanted.nothing
    return find(wanted, strength, round_to, options, clock)


@exhaustion_told("rescale")
def rescale(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    on_report: Callable[[RescaleReport], object] | None = None,
    **options: Any,
) -> nn.Module:
    """A rescaled deep copy of a model; the model itself is not touched.

    Args:
        model, example_inputs: as for `rescale_`. A graph traced from the model serves its copy.
        on_report: called with the `RescaleReport`, for instance ``print`` or a list's ``append``.
        options: all other arguments of `rescale_`, with the same defaults.

    Returns:
        The copy, of the same type: a wrapped model (DataParallel, `torch.compile`) is copied with
        its wrapper.

    Raises:
        InvalidInputError: also if the model cannot be copied.
        Everything that `rescale_` raises.
    """
    check_model(model)
    check_parameters(model)
    result = copied(model)
    report = rescale_(result, example_inputs, **options)
    if on_report is not None:
        on_report(report)
    return result


def _apply(
    model: nn.Module,
    graph: RescalingGraph,
    log2: npt.NDArray[np.float64],
    exact: bool,
    moving: list[tuple[Moving, Tensor]],
) -> dict[str, int]:
    """Change everything; returns how many entries underflowed, by tensor."""
    lost = rescale_parameters(model, graph, log2, exact=exact)
    found = {f"parameter '{name}'": count for name, count in lost.items()}
    for x, value in moved_values(moving, graph, log2):
        found[x.name] = underflowed(x.tensor, value)
        write(x.tensor, value)
    return {name: count for name, count in found.items() if count}


def _apply_and_verify(
    model: nn.Module,
    graph: RescalingGraph,
    log2: npt.NDArray[np.float64],
    exact: bool,
    originals: list[Tensor],
    moving: list[tuple[Moving, Tensor]],
    call: Call,
    clock: Clock,
) -> tuple[Verification, dict[str, int]]:
    wanted = runs(call)
    with clock.stage("observe"):
        before = observe(model, wanted)
        if not any(observation.outputs for observation in before):
            raise InvalidInputError("model: it returns no tensor, so nothing can be verified")
        for info, x, old in zip(graph.parameters, model.parameters(), originals, strict=True):
            if not same_bits(x.detach(), old):  # written to through `.data`, which leaves no trace
                raise InvalidInputError(f"model: a forward pass changes parameter '{info.name}'")
    with clock.stage("apply"):
        underflow = _apply(model, graph, log2, exact, moving)
    with clock.stage("verify"):
        found = changes(before, observe(model, wanted), finest=tolerance(model), exact=exact)
        failed = [change for change in found if not change.passed]
        worst = {mode_of(c.run): c.run for c in sorted(failed, key=lambda c: c.error)}
        doubtful = [run for run in wanted if run.name in worst.values()]
        # Powers of two round nothing, so there is no rounding to excuse a change.
        if failed and (exact or not is_rounding(model, graph, log2, originals, doubtful, failed)):
            raise VerificationError(failed[0].describe())
    seen = tuple(observation.run for observation in before)
    verification = Verification(seen, max(change.error for change in found), bool(failed))
    return verification, underflow
