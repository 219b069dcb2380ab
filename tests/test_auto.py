"""method="auto" on families of networks and on matrices that are no network's."""

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import (
    GENERAL,
    PAIRS,
    WEIGHTS,
    deep,
    deep_kernels,
    dense_real,
    from_ends,
    layered,
    mild,
    one_neuron,
    real_values,
    two_scales,
)
from tolerances import GAP, MONOTONE, OPTIMUM, SAME_OBJECTIVE, STATIONARITY, STATIONARITY_SEEN

import pathcond_native as pc


def check_result(B, g, result):
    """What every result must satisfy; residuals by NumPy."""
    oracle = Oracle.of(B, g)
    assert result.converged
    assert result.status == "converged"
    assert oracle.stationarity(result.u) <= STATIONARITY_SEEN
    per_row = result.history / oracle.rows
    rounding = MONOTONE * (1 + np.abs(per_row).max())
    assert np.diff(per_row).max(initial=-np.inf) <= rounding
    size = 1 + np.abs(per_row).max()
    assert abs(oracle.objective(result.u) - result.objective) <= SAME_OBJECTIVE * size * oracle.rows
    assert result.history[-1] - result.objective == pytest.approx(0, abs=rounding * oracle.rows)
    assert len(result.history) == result.sweeps + 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_reaches_the_optimum(incidence, weights, seed):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    g = weights(r, problem.layer)
    result = pc.solve(problem.B, g)
    check_result(problem.B, g, result)
    assert result.passes <= 150


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("seed", [122, 210])
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_few_rows_outweigh_all_others(incidence, seed, method):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    g = two_scales(r, problem.layer)
    check_result(problem.B, g, pc.solve(problem.B, g, method=method))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("incidence", [deep, deep_kernels])
def test_sweeps_do_not_grow_with_depth(incidence, weights):
    r = np.random.default_rng(2)
    problem = incidence(r)
    assert pc.solve(problem.B, weights(r, problem.layer)).sweeps <= 25


@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_newton_agrees_with_auto(incidence):
    r = np.random.default_rng(3)
    problem = incidence(r)
    g = mild(r, problem.layer)
    oracle = Oracle.of(problem.B, g)
    newton = pc.solve(problem.B, g, method="newton")
    check_result(problem.B, g, newton)
    gap = oracle.objective(newton.u) - oracle.objective(pc.solve(problem.B, g).u)
    assert abs(gap) <= GAP * oracle.rows * (1 + abs(oracle.objective(newton.u) / oracle.rows))


@pytest.mark.parametrize("incidence", [layered, dense_real, real_values, one_neuron])
def test_agrees_with_dense_newton(incidence):
    r = np.random.default_rng(4)
    problem = incidence(r)
    g = mild(r, problem.layer)
    oracle = Oracle.of(problem.B, g)
    assert oracle.is_unique()
    assert np.abs(pc.solve(problem.B, g).u - oracle.minimise()).max() <= OPTIMUM


def test_neurons_with_one_side_only():
    # Neuron 0 is only left, neuron 1 only entered; the empty rows hold the balance.
    B = from_ends([0, 0, 0, -1, -1, -1, -1], [-1, -1, -1, 1, 1, -1, -1], 2)
    g = np.array([1.0, 2.0, 5.0, 3.0, 4.0, 0.5, 7.0])
    result = pc.solve(B, g)
    check_result(B, g, result)
    # Shares 3/7, 2/7 and 2/7 of the weight: 8 x = 3/7 S, 7 / y = 2/7 S, 7.5 = 2/7 S.
    total = 7.5 * 7 / 2
    expected = [np.log(3 / 7 * total / 8), -np.log(2 / 7 * total / 7)]
    np.testing.assert_allclose(result.u, expected, atol=OPTIMUM)


def test_neuron_with_one_side_only_and_no_other_row():
    # F is constant: whatever u, the only neuron's share is 1.
    B = from_ends([0, 0, 0], [-1, -1, -1], 1)
    result = pc.solve(B, [1.0, 2.0, 3.0])
    check_result(B, np.array([1.0, 2.0, 3.0]), result)
    np.testing.assert_array_equal(result.u, [0.0])


def test_one_neuron_has_the_closed_form():
    # As many leave as enter: log t = log(I / O) / 2 for any rest.
    B = from_ends([0, 0, -1, -1, -1], [-1, -1, 0, 0, -1], 1)
    result = pc.solve(B, [1.0, 2.0, 30.0, 40.0, 1e6])
    np.testing.assert_allclose(result.u, [np.log(70 / 3) / 2], atol=OPTIMUM)


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
def test_one_row(method):
    result = pc.solve(from_ends([0], [1], 2), [5.0], method=method)
    assert result.converged
    assert result.rows == 1
    assert result.objective == pytest.approx(np.log(5), rel=SAME_OBJECTIVE)
    np.testing.assert_array_equal(result.u, [0.0, 0.0])


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
def test_no_neuron(method):
    result = pc.solve(np.zeros((3, 0)), [1.0, 2.0, 3.0], method=method)
    assert result.converged
    assert result.u.shape == (0,)
    assert result.frozen.shape == (0,)
    assert result.gradient_norm == 0
    assert result.objective == pytest.approx(3 * np.log(6), rel=SAME_OBJECTIVE)
    np.testing.assert_array_equal(result.v, np.zeros(3))


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
def test_no_row(method):
    result = pc.solve(np.zeros((0, 2)), [], method=method)
    assert result.converged
    assert result.rows == 0
    assert result.frozen.all()
    np.testing.assert_array_equal(result.u, np.zeros(2))


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
def test_only_empty_rows(method):
    result = pc.solve(np.zeros((4, 2)), np.arange(1.0, 5), method=method)
    assert result.converged
    assert result.frozen.all()
    assert result.merged_rows == 1
    np.testing.assert_array_equal(result.u, np.zeros(2))


def test_rows_that_leave_and_enter_the_same_neuron_are_empty():
    twice = ([[0, 1], [1, 2]], [[3], [1, 4]])
    with_loop = np.array([[1, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
    g = [1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(pc.InvalidInputError, match="row 1 is listed twice for neuron 1"):
        pc.solve(twice, g)
    check_result(with_loop, np.array(g), pc.solve(with_loop, g))


def test_merging_counts_different_rows():
    r = np.random.default_rng(0)
    B = np.array([[1, -1, 0], [1, -1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, -1, 1]])
    for method in ("auto", "cd", "newton"):
        result = pc.solve(B, r.random(7), method=method)
        assert (result.rows, result.merged_rows) == (7, 4)


@pytest.mark.parametrize("method", ["auto", "newton"])
def test_a_gradient_that_rounding_hides_is_no_certificate(method):
    # One row of 1e12 moves the gradient by 1e-4 where its share does by one rounding.
    B = 1e12 * np.random.default_rng(0).standard_normal((8, 2))
    result = pc.solve(B, np.ones(8), method=method)
    assert result.gradient_norm <= STATIONARITY
    assert result.status == "stalled"
    # d is the difference of two entries of 1e30: nothing is left of the others.
    cancelling = np.array([[1e30], [-1e30], [127.0], [-128.0], [2.0], [0.0]])
    assert not pc.solve(cancelling, [1.0, 1.0, 2.0, 3.0, 1e30, 1.0], method=method).converged


@pytest.mark.parametrize("seed", range(20))
def test_one_level_is_solved_in_one_sweep_across_65_decades(seed):
    # The total falls as far: rounding of the first sum must not become the new one.
    r = np.random.default_rng(seed)
    leaving = r.integers(1, 12, 6)
    B = np.zeros((sum(leaving) + 2, 6), np.int8)
    B[np.arange(sum(leaving)), np.repeat(np.arange(6), leaving)] = 1
    B[-2, 1] = B[-1, 5] = -1
    g = np.repeat([2.9282057825471927e154, 2.4349114307068227e89], [sum(leaving), 2])
    order = r.permutation(len(B))
    result = pc.solve(B[order], g[order], max_sweeps=1)
    assert result.converged
    assert Oracle.of(B, g).stationarity(result.u) <= STATIONARITY_SEEN
