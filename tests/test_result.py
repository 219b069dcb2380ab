"""SolveResult: what it holds and how it agrees with itself."""

import dataclasses

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import (
    GENERAL,
    PAIRS,
    decades_inside,
    layered,
    layered_kernels,
    long_rows,
    mild,
    pruned,
    random_pairs,
    real_values,
    twos,
)
from tolerances import ROUNDING, SAME_OBJECTIVE, STATIONARITY_SEEN

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")


def drawn(incidence, weights=mild, seed=0):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    return problem.B, weights(r, problem.layer)


def test_is_frozen():
    result = pc.solve(*drawn(layered))
    assert dataclasses.is_dataclass(result)
    for field in dataclasses.fields(result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field.name, None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_v_and_scales(incidence, method):
    B, g = drawn(incidence, pruned)
    result = pc.solve(B, g, method=method, max_sweeps=5)
    # v has all rows of B, also those of g = 0.
    np.testing.assert_allclose(result.v, B @ result.u, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(result.scales, np.exp(result.u / 2), rtol=ROUNDING)
    np.testing.assert_allclose(result.parameter_scales, np.exp(-result.v / 2), rtol=ROUNDING)
    assert result.v is result.v


def test_v_of_a_matrix_with_unsorted_and_repeated_entries():
    leaving_first = ([[0, 2, 1]], [[4, 3]])
    result = pc.solve(leaving_first, [1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(result.v, np.array([1, 1, 1, -1, -1]) * result.u[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", [mild, decades_inside, pruned])
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_numbers_agree_with_an_independent_evaluation(incidence, weights, method):
    B, g = drawn(incidence, weights)
    u0 = np.random.default_rng(1).standard_normal(B.shape[1])
    oracle = Oracle.of(B, g)
    result = pc.solve(B, g, method=method, max_sweeps=4, u0=u0)
    size = oracle.rows + abs(result.objective)
    assert result.objective == pytest.approx(oracle.objective(result.u), abs=SAME_OBJECTIVE * size)
    np.testing.assert_array_equal(result.u[result.frozen], u0[result.frozen])
    assert result.initial_objective == pytest.approx(
        oracle.objective(u0), rel=SAME_OBJECTIVE, abs=SAME_OBJECTIVE * oracle.rows
    )
    seen = oracle.stationarity(result.u)
    assert result.gradient_norm == pytest.approx(seen, rel=1e-9, abs=STATIONARITY_SEEN)
    assert result.rows == oracle.rows


@pytest.mark.parametrize("size", [50.0, 150.0, 300.0])
@pytest.mark.parametrize("sweeps", [0, 1, 100])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [layered_kernels, random_pairs, long_rows, twos])
def test_numbers_are_true_far_from_the_optimum_too(incidence, method, sweeps, size):
    B, g = drawn(incidence)
    u0 = np.random.default_rng(1).uniform(-size, size, B.shape[1])
    oracle = Oracle.of(B, g)
    result = pc.solve(B, g, method=method, max_sweeps=sweeps, u0=u0)
    assert np.isfinite(result.u).all()
    assert np.isfinite(result.history).all()
    rounding = SAME_OBJECTIVE * (oracle.rows + np.abs(result.history).max())
    assert result.objective == pytest.approx(oracle.objective(result.u), abs=rounding)
    seen = oracle.stationarity(result.u)
    assert result.gradient_norm == pytest.approx(seen, rel=1e-9, abs=STATIONARITY_SEEN)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [layered_kernels, random_pairs, long_rows, real_values])
def test_merged_rows_are_the_different_ones(incidence, method):
    B, g = drawn(incidence, pruned)
    result = pc.solve(B, g, method=method, max_sweeps=0)
    assert result.merged_rows == len(np.unique(B.toarray()[g > 0], axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_types(method):
    result = pc.solve(*drawn(layered), method=method)
    assert type(result.objective) is float
    assert type(result.initial_objective) is float
    assert type(result.gradient_norm) is float
    assert type(result.sweeps) is int
    assert type(result.converged) is bool
    assert type(result.status) is str
    assert result.u.dtype == result.history.dtype == np.float64
    assert result.frozen.dtype == np.bool_
    assert result.history.shape == (result.sweeps + 1,)
    assert result.initial_objective == result.history[0]


@pytest.mark.parametrize("method", METHODS)
def test_seconds_per_stage(method):
    seconds = pc.solve(*drawn(layered_kernels), method=method).seconds
    assert {"validate", "merge", "sweeps"} <= set(seconds)
    assert all(isinstance(stage, str) for stage in seconds)
    assert all(duration >= 0 for duration in seconds.values())


def test_status_values():
    B, g = drawn(layered)
    assert pc.solve(B, g).status == "converged"
    assert pc.solve(B, g, max_sweeps=1).status == "max_sweeps"
    assert pc.solve(B, g, callback=lambda *_: True).status == "stopped_by_callback"
    # No point has a gradient of exactly 0 here.
    for method in METHODS:
        unreachable = pc.solve(B, g, method=method, tol=0, max_sweeps=300)
        assert unreachable.status in ("stalled", "max_sweeps")
        assert not unreachable.converged
        assert unreachable.gradient_norm <= STATIONARITY_SEEN


@pytest.mark.parametrize("method", METHODS)
def test_converged_is_said_when_and_only_when_it_is_true(method):
    B, g = drawn(layered)
    for sweeps in range(12):
        result = pc.solve(B, g, method=method, max_sweeps=sweeps)
        assert result.converged == (result.status == "converged")
        if method != "cd":
            assert result.converged == (result.gradient_norm <= 1e-12)


def test_repr_tells_the_essentials():
    text = repr(pc.solve(*drawn(layered)))
    assert text.startswith("SolveResult(converged, neurons=72, rows=1733")
    assert "gradient_norm=" in text
    assert len(text) < 250


def test_results_are_compared_by_identity():
    result = pc.solve(*drawn(layered))
    assert result == result
    assert result != pc.solve(*drawn(layered))
