"""method="cd": the paper's sweep, against numpy.roots."""

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import (
    GENERAL,
    PAIRS,
    decades_inside,
    dense_real,
    layered,
    layered_kernels,
    long_rows,
    mild,
    one_neuron,
    pruned,
    random_pairs,
    real_values,
    squared_relu,
    twos,
)
from tolerances import EXACT_STEP, GAP, OPTIMUM, ROUNDING, STATIONARITY_SEEN

import pathcond_native as pc

SMALL = (
    layered,
    layered_kernels,
    random_pairs,
    one_neuron,
    long_rows,
    twos,
    real_values,
    dense_real,
    squared_relu,
)


@pytest.mark.parametrize("weights", [mild, pruned, decades_inside])
@pytest.mark.parametrize("incidence", SMALL)
def test_iterates_are_the_exact_coordinate_minimisers(incidence, weights):
    r = np.random.default_rng(0)
    problem = incidence(r)
    g = weights(r, problem.layer)
    expected = Oracle.of(problem.B, g).coordinate_descent(2)
    result = pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=2)
    assert np.abs(result.u - expected).max() <= EXACT_STEP * (1 + np.abs(expected).max())


def test_starts_at_u0():
    r = np.random.default_rng(1)
    problem = layered(r)
    g, u0 = mild(r, problem.layer), 3 * r.standard_normal(problem.B.shape[1])
    expected = Oracle.of(problem.B, g).coordinate_descent(1, u0)
    result = pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=1, u0=u0)
    assert np.abs(result.u - expected).max() <= EXACT_STEP


def test_cubic_of_a_squared_relu_neuron():
    # 8 t + 1 / t^2 + 5, d = 4 - 2 * 2 = 0: t^3 = 2 / 8.
    B = np.array([[1], [1], [1], [1], [-2], [-2], [0]])
    g = [2.0, 2.0, 2.0, 2.0, 0.25, 0.75, 5.0]
    result = pc.solve(B, g, method="cd", tol=0, max_sweeps=1)
    np.testing.assert_allclose(result.u, [np.log(2 / 8) / 3], atol=ROUNDING)


def test_weights_kept_in_step_do_not_drift():
    r = np.random.default_rng(2)
    problem = layered_kernels(r)
    g = decades_inside(r, problem.layer)
    through = pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=300)
    u = np.zeros(problem.B.shape[1])
    for _ in range(300):  # every solve computes its weights from u anew
        u = pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=1, u0=u).u
    np.testing.assert_allclose(through.u, u, rtol=0, atol=EXACT_STEP)


@pytest.mark.parametrize("incidence", [layered, layered_kernels, long_rows, real_values])
def test_tends_to_the_optimum(incidence):
    r = np.random.default_rng(3)
    problem = incidence(r)
    g = mild(r, problem.layer)
    oracle = Oracle.of(problem.B, g)
    result = pc.solve(problem.B, g, method="cd", tol=1e-13, max_sweeps=10_000)
    assert result.converged
    gap = oracle.objective(result.u) - oracle.objective(oracle.minimise())
    assert abs(gap) <= GAP * oracle.rows


@pytest.mark.parametrize("tolerance", [1.0, 1e-3, 1e-6])
def test_tolerance_is_the_change_of_u_over_a_sweep(tolerance):
    r = np.random.default_rng(4)
    problem = layered(r)
    g = mild(r, problem.layer)

    def iterate(sweeps):
        return pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=sweeps).u

    result = pc.solve(problem.B, g, method="cd", tol=tolerance, max_sweeps=1000)
    assert result.converged
    last, before, earlier = (iterate(result.sweeps - back) for back in range(3))
    np.testing.assert_array_equal(result.u, last)
    assert np.abs(last - before).sum() < tolerance <= np.abs(before - earlier).sum()


@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_reported_gradient_is_that_of_the_result(incidence):
    r = np.random.default_rng(5)
    problem = incidence(r)
    g = mild(r, problem.layer)
    result = pc.solve(problem.B, g, method="cd", tol=0, max_sweeps=3)
    expected = Oracle.of(problem.B, g).stationarity(result.u)
    assert result.gradient_norm == pytest.approx(expected, abs=OPTIMUM * 1e-5)
    assert result.status == "max_sweeps"


def test_zero_sweeps_return_the_start():
    r = np.random.default_rng(6)
    problem = layered(r)
    g, u0 = mild(r, problem.layer), r.standard_normal(problem.B.shape[1])
    result = pc.solve(problem.B, g, method="cd", max_sweeps=0, u0=u0)
    np.testing.assert_array_equal(result.u, u0)
    assert (result.sweeps, result.converged, result.status) == (0, False, "max_sweeps")
    assert result.objective == pytest.approx(result.initial_objective, rel=ROUNDING)


@pytest.mark.parametrize("values", [[0, 1], [0, 2], [0, 1, -1], [0, -1], [0, -2, 1]])
@pytest.mark.parametrize("decades", [-30, -15, 15, 30])
def test_a_dominating_neuron_does_not_hide_the_other_rows(values, decades):
    # total - (weight of the neuron) is rounding, and yet the step depends on it.
    B = np.array(values)[:, None]
    g = np.where(B[:, 0] == 0, 1.0, 10.0**decades)
    oracle = Oracle.of(B, g)
    result = pc.solve(B, g, method="cd", tol=0, max_sweeps=1)
    assert oracle.stationarity(result.u) <= STATIONARITY_SEEN
    # The same through the starting point.
    started = pc.solve(B, np.ones(len(B)), method="cd", u0=[2.3 * decades], tol=0, max_sweeps=1)
    assert Oracle.of(B, np.ones(len(B))).stationarity(started.u) <= STATIONARITY_SEEN


def test_step_of_two_values_of_one_sign_and_one_of_the_other():
    # (3 + 5) t^2 and 1 / t^2, d = 2 of p = 3 rows: 8 (6 - 2) t^4 = 8.
    result = pc.solve([[2], [-2], [2]], [3.0, 1.0, 5.0], method="cd", tol=0, max_sweeps=1)
    np.testing.assert_allclose(result.u, [-np.log(4) / 4], atol=ROUNDING)
