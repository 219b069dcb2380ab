"""`solve` on three networks: to the optimum, and side by side with what else a user could do.

In every round of a comparison `solve` runs three times and then the other once, on the same arrays;
ratios are of the medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pathcond_native import solve
from pathcond_native.cli.bench import read_once

from .baselines import edge_sets, lbfgsb, numba_sweeps, python_sweeps

GAP = 1e-9
SWEEPS = 10


def side_by_side(
    benchmark: Any, problem: Any, other: Callable[[], Any], rounds: int, tensors: bool = False
) -> tuple[Any, dict[str, float]]:
    """The other's result; both median times and their ratio; the ratio of the fastest times.

    `tensors`: compare with `solve` by tensors, without B.
    """
    form = problem.graph if tensors else problem.B
    of_solve: list[float] = []
    of_other: list[float] = []

    def timed(seconds: list[float], action: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - start)
        return result

    def run_solve() -> None:
        for _ in range(3):
            timed(of_solve, lambda: solve(form, problem.g))

    result = benchmark.pedantic(lambda: timed(of_other, other), setup=run_solve, rounds=rounds)
    seconds, solve_seconds = statistics.median(of_other), statistics.median(of_solve)
    return result, {
        "seconds": seconds,
        "solve_seconds": solve_seconds,
        "ratio": seconds / solve_seconds,
        "ratio_of_fastest": min(of_other) / min(of_solve),
    }


def stages(results) -> dict[str, float]:
    """Median seconds of every stage of some solves."""
    return {
        stage: statistics.median(result.seconds[stage] for result in results)
        for stage in results[0].seconds
    }


def test_optimum(benchmark, problem, record):
    seconds, results = [], []

    def timed():
        start = time.perf_counter()
        result = solve(problem.B, problem.g)
        seconds.append(time.perf_counter() - start)
        results.append(result)
        return result

    result = benchmark.pedantic(timed, rounds=25, warmup_rounds=5)
    value, gradient = problem.objective(result.u)
    assert result.converged
    assert result.sweeps <= 8
    # Rounding of the products with B comes on top of the solver's 1e-12.
    assert np.abs(gradient).max() <= 2e-12
    assert value == pytest.approx(result.objective / result.rows, rel=1e-14)
    p, H = problem.B.shape
    record(
        "solve",
        p=p,
        H=H,
        merged_rows=result.merged_rows,
        sweeps=result.sweeps,
        gradient=result.gradient_norm,
        objective=result.objective,
        seconds=statistics.median(seconds),
        stages=stages(results),
    )


def test_by_tensors(benchmark, problem, record):
    results = []

    def by_tensors():
        results.append(solve(problem.graph, problem.g))
        return results[-1]

    result, measured = side_by_side(benchmark, problem, by_tensors, rounds=25)
    value, gradient = problem.objective(result.u)
    assert result.converged
    assert np.abs(gradient).max() <= 2e-12
    assert value == pytest.approx(problem.optimum.objective / problem.optimum.rows, rel=1e-14)
    record("tensors", stages=stages(results), **measured)


def test_tensors_against_reading(benchmark, problem, record):
    total, measured = side_by_side(
        benchmark, problem, lambda: read_once((problem.g,)), rounds=25, tensors=True
    )
    assert total == read_once((problem.g,))
    record("reading_g", bytes=problem.g.nbytes, **measured)


def test_against_numba_sweeps(benchmark, problem, record):
    pytest.importorskip("numba")
    sweeps = numba_sweeps(problem.B, problem.g)
    u, measured = side_by_side(benchmark, problem, lambda: sweeps(SWEEPS), rounds=5)
    native = solve(problem.B, problem.g, method="cd", tol=0, max_sweeps=SWEEPS)
    np.testing.assert_allclose(u, native.u, rtol=0, atol=1e-9)
    record("numba_sweeps", **measured)


def test_ten_sweeps(benchmark, problem, record):
    def ten_sweeps():
        return solve(problem.B, problem.g, method="cd", tol=0, max_sweeps=SWEEPS)

    result, measured = side_by_side(benchmark, problem, ten_sweeps, rounds=7)
    value, _ = problem.objective(result.u)
    assert result.sweeps == SWEEPS
    assert value == pytest.approx(result.objective / result.rows, rel=1e-13)
    record("native_sweeps", **measured)


@pytest.mark.usefixtures("one_torch_thread")
def test_against_python_sweeps(benchmark, problem, record):
    sets, g = edge_sets(problem.B), torch.from_numpy(problem.g)
    u, measured = side_by_side(benchmark, problem, lambda: python_sweeps(sets, g, SWEEPS), rounds=5)
    native = solve(problem.B, problem.g, method="cd", tol=0, max_sweeps=SWEEPS)
    np.testing.assert_allclose(u.numpy(), native.u, rtol=0, atol=1e-9)
    value, _ = problem.objective(u.numpy())
    gap = value - problem.optimum.objective / problem.optimum.rows
    assert gap > GAP
    record("python_sweeps", gap=gap, **measured)
    assert measured["ratio"] >= 300


def test_against_lbfgsb(benchmark, problem, record):
    optimum = problem.optimum.objective / problem.optimum.rows
    outcome, measured = side_by_side(
        benchmark, problem, lambda: lbfgsb(problem.objective, optimum + GAP), rounds=5
    )
    value, _ = problem.objective(outcome.x)
    # The first inequality also certifies the optimum: nothing below it was found.
    assert -1e-13 <= value - optimum <= GAP
    record("lbfgsb", gap=value - optimum, iterations=outcome.nit, calls=outcome.nfev, **measured)
    assert measured["ratio"] >= 40


def test_against_reading(benchmark, problem, record):
    arrays = (problem.B.indptr, problem.B.indices, problem.B.data, problem.g)
    total, measured = side_by_side(benchmark, problem, lambda: read_once(arrays), rounds=25)
    assert total == read_once(arrays)
    assert measured["ratio"] >= 1 / 4
    record("reading", bytes=sum(array.nbytes for array in arrays), **measured)
