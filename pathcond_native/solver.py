"""The solver's Python face; the only module that calls the native core's `solve`."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pathcond_native import _core
from pathcond_native.arrays import Incidence, read_incidence, read_weights
from pathcond_native.device import DeviceIncidence, incidence_on_device, solve_by_columns
from pathcond_native.device_arrays import on_device, read_on_device
from pathcond_native.enorm import hold_one_sided
from pathcond_native.errors import InvalidInputError
from pathcond_native.memory import exhaustion_told
from pathcond_native.result import SolveResult
from pathcond_native.structured import Graph, is_graph, read_parts, solve_graph, whole

__all__ = ["check_solve_options", "solve"]


@exhaustion_told("solve")
def solve(
    B: Any,
    g: Any,
    *,
    criterion: Literal["pathcond", "enorm"] = "pathcond",
    method: Literal["auto", "cd", "newton"] = "auto",
    tol: float | None = None,
    max_sweeps: int | None = None,
    max_scale: float | None = None,
    u0: Any = None,
    threads: int | None = None,
    callback: Callable[[int, float, float], object] | None = None,
) -> SolveResult:
    """Minimise F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i (arXiv 2602.19799, eq. 9).

    F is convex. With u_h = 2 log(lambda_h) its minimiser gives the path-conditioned rescaling:
    what enters neuron h is multiplied by lambda_h, what leaves it divided. Rows with g = 0 leave
    the problem altogether; neurons left without a row keep u0 and are reported as `frozen`. A
    common factor of g does not change u. Neither input is modified, nor may another thread modify
    it before `solve` returns.

    Args:
        B: (p, H), +1 where the row's parameter leaves the neuron, -1 where it enters it. A SciPy
            sparse matrix or array of any format (CSC is read in place), a torch sparse or dense
            tensor, a BCOO or BCSR matrix of JAX, a 2-D array of any kind that g may be, or a pair
            `(leaving, entering)` of row index lists, or arrays, per neuron.
            Any finite real entries are allowed; -1, 0, +1 with at most one of each per row is the
            fast case. Repeated entries of a sparse matrix add up. A `RescalingGraph`, as `trace`
            returns it, is faster still: B is then never formed, and where no rows are equal g is
            read in place.
        g: (p,), finite and non-negative, any real dtype, bfloat16 among them: a list, or an array
            of NumPy, torch, CuPy, JAX or another package that follows the array API standard, or
            any object with `__dlpack__`. Results come back in the same framework on the same device
            (NumPy for objects of which nothing else is known), in float64 where it has that: JAX
            has float32 only, unless `jax_enable_x64` is set, see `SolveResult`. Values that JAX
            traces, in jit or grad, have to come by `jax.pure_callback`. Arrays on the host are read
            in place, read-only ones too; those of float16, integers and the like, or with gaps, are
            copied, and so are those on a device that are neither torch's nor CuPy's. With a
            `RescalingGraph` also a list of arrays, one per parameter of the model, or an iterator
            of such arrays. An iterator's arrays are summed where rows of B are equal (all taps of a
            kernel, all inputs of a first layer) and dropped before the next is asked for; of those
            in which no rows are equal, or an entry is 0, a copy in float64 is kept. On a CUDA
            device, torch or CuPy, g stays where it is (of an iterator's arrays, copies there) and
            work is queued on the current stream, if B is a `RescalingGraph`, or a matrix of -1, 0
            and +1 on the same device with at most one of each sign per row; else, and for graphs
            that multiply channels, g is copied to the host.
        criterion: "pathcond": F. "enorm" (Stock et al., arXiv 1902.10416): minimise
            N(u) = sum_i g_i exp(-(B u)_i) instead, the sum of squares after the rescaling if g
            holds the squares of the parameters. `objective` and `history` are then N, gradients
            those of log N. A neuron that only leaving rows touch, or only entering ones, has no
            optimum: it keeps u = 0 and counts as `frozen`. A matrix B is read on the host.
        method: "auto": merges equal rows, solves a rank-one model of dense layers, then takes exact
            steps for whole layers with a coarse step over layers, finished by Newton where these
            stall; for B of other structure exact coordinate sweeps, then Newton. "newton": Newton's
            method with conjugate gradients on the merged rows. "cd": the paper's coordinate
            descent, neurons in order; with "enorm" the cycles of its paper.
        tol: "auto", "newton": max_h |dF/du_h| / p to reach (default 1e-12). "cd": the paper's
            sum_h |change of u_h| over one sweep (default 1e-2).
        max_sweeps: sweeps (or Newton steps) at most; default 10 for "cd", else 1000.
        max_scale: >= 1; F is minimised over the u with every lambda_h = exp(u_h / 2) within
            [1/max_scale, max_scale], so that a parameter changes by at most a factor
            max_scale per entry of its row of B. Neurons at an edge that F pushes against it do not
            count in gradients. Default: no bound.
        u0: (H,) starting point, an array of any kind that g may be, default 0, within what
            `max_scale` allows. "auto" and "newton" leave one that is far (beyond 100) and worse
            than 0 for 0.
        threads: worker threads at most, default all that the process may use. The result does not
            depend on it.
        callback: called after every sweep as callback(sweep, objective, gradient_norm), the
            gradient as met during the sweep (before each neuron's step); a true return value
            stops the solve.

    Returns:
        SolveResult. Not converging is a status, not an exception.

    Raises:
        InvalidInputError: an argument is unusable; nothing has been computed. Also an iterator of
            arrays for a problem that needs all of g at once: a layer that writes to what it reads,
            or entries too small, or too far apart, for sums.
        OutOfMemoryError: memory ran out.
        DeviceMemoryError: g's device has too little memory; nothing has been changed.
        DeviceError: the CUDA runtime failed; nothing has been changed.
        KeyboardInterrupt: Ctrl-C, also within a sweep.
    """
    if criterion not in ("pathcond", "enorm"):
        raise InvalidInputError(f"criterion: expected 'pathcond' or 'enorm', got {criterion!r}")
    if not isinstance(method, str):
        raise InvalidInputError(f"method: expected a string, got {method!r}")
    if callback is not None and not callable(callback):
        raise InvalidInputError(f"callback: expected a callable, got {callback!r}")
    start = [] if u0 is None else _starting_point(u0)
    options: dict[str, Any] = {
        "method": method,
        "linear": True,
        "tolerance": _real("tol", tol),
        "max_sweeps": _integer("max_sweeps", max_sweeps),
        "max_scale": math.inf if max_scale is None else _real("max_scale", max_scale),
        "threads": _integer("threads", threads) or available_threads(),
        "u0": start,
        "callback": callback,
    }
    if is_graph(B):
        weights, framework = read_parts(B, g)
        incidence: Graph | Incidence | DeviceIncidence = B
        columns = B.shape[1]
    else:
        array, framework = read_on_device(g) if on_device(g) else read_weights(g)
        weights = [array]
        stays = on_device(g) and criterion == "pathcond"
        there = incidence_on_device(B, array) if stays else None
        incidence = there or read_incidence(B, len(array))
        columns = incidence.columns
    if u0 is not None and len(start) != columns:
        raise InvalidInputError(
            f"u0: expected one entry per neuron (column of B), of which there are "
            f"{columns}, got {len(start)}"
        )
    try:
        if criterion == "enorm" and not isinstance(incidence, DeviceIncidence):
            solution, incidence, u = _balance(incidence, weights, options)
        else:
            solution, incidence = _solve(incidence, weights, options)
            u = solution.u
    except _core.InvalidInput as error:
        raise InvalidInputError(str(error)) from None
    return SolveResult(
        objective=solution.objective,
        initial_objective=solution.initial_objective,
        gradient_norm=solution.gradient_norm,
        sweeps=solution.sweeps,
        passes=solution.passes,
        converged=solution.converged,
        status=solution.status,
        frozen=framework.from_numpy(solution.frozen.astype(np.bool_)),
        rows=solution.rows,
        merged_rows=solution.merged_rows,
        seconds=dict(solution.seconds),
        history=solution.history,
        _u=u,
        _incidence=incidence,
        _framework=framework,
    )


def check_solve_options(options: dict[str, Any]) -> None:
    """Raise as `solve` would; one neuron is enough for it to object."""
    solve(np.array([[1.0], [-1.0]]), np.ones(2), **options)


def _solve(
    incidence: Graph | Incidence | DeviceIncidence, parts: list[Any], options: dict[str, Any]
) -> tuple[_core.Solution, Graph | Incidence | DeviceIncidence]:
    if isinstance(incidence, DeviceIncidence):
        if (solution := solve_by_columns(incidence, parts[0], options)) is not None:
            return solution, incidence
        g = whole(parts)
        incidence = read_incidence(incidence.matrix, len(g))
    elif not isinstance(incidence, Incidence):
        if (solution := solve_graph(incidence, parts, options)) is not None:
            return solution, incidence
        g = whole(parts)
        incidence = read_incidence(incidence.incidence(), len(g))
    else:
        g = whole(parts)
    return _host_solve(incidence, g, options)


def _balance(
    incidence: Graph | Incidence, parts: list[Any], options: dict[str, Any]
) -> tuple[_core.Solution, Graph | Incidence, npt.NDArray[np.float64]]:
    """Solution, B and u with criterion "enorm": N(u) is F without its linear term, at -u."""
    if isinstance(incidence, Incidence):  # all that can be wrong with B and g is found first
        incidence = _host_solve(incidence, whole(parts), {**options, "max_sweeps": 0})[1]
    solved, parts, held = hold_one_sided(incidence, parts)
    u0 = np.where(held, 0.0, np.negative(options["u0"])).tolist() if options["u0"] else []
    solution, _ = _solve(solved, parts, {**options, "linear": False, "u0": u0})
    return solution, incidence, 0.0 - solution.u


def _host_solve(
    incidence: Incidence, g: Any, options: dict[str, Any]
) -> tuple[_core.Solution, Incidence]:
    """The solution, and B as it could be read."""
    try:
        return _call(incidence, g, options), incidence
    except _core.NotCanonical:
        canonical = incidence.canonical()
        return _call(canonical, g, options), canonical


def _call(incidence: Incidence, g: Any, options: dict[str, Any]) -> _core.Solution:
    return _core.solve(
        incidence.rows, incidence.indptr, incidence.indices, incidence.values, g, **options
    )


def _real(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (str, bytes)):  # float() would read numbers in them
        with suppress(TypeError, ValueError):
            return float(value)
    raise InvalidInputError(f"{name}: expected a number, got {value!r}")


def _integer(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{name}: expected an integer, got {value!r}") from error
    if not 0 <= number < 2**31 or (name == "threads" and number == 0):
        raise InvalidInputError(f"{name}: expected a positive integer, got {number}")
    return number


def available_threads() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _starting_point(u0: Any) -> list[float]:
    array, _ = read_weights(u0, "u0")
    if not np.isfinite(array).all():
        raise InvalidInputError("u0: entries must be finite")
    point: list[float] = array.astype(np.float64).tolist()
    return point
