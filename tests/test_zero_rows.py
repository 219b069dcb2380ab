"""Rows with g = 0 leave the problem: from the sum, from d and from p."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy_oracle import Oracle
from problems import (
    from_ends,
    layered,
    long_rows,
    mild,
    pruned,
    real_values,
    residual_stream,
    skips,
    twos,
)
from tolerances import OPTIMUM, STATIONARITY_SEEN

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")


def touching(B, neuron):
    return B.indices[B.indptr[neuron] : B.indptr[neuron + 1]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [layered, skips, residual_stream, long_rows, twos])
def test_same_as_removing_the_rows(incidence, method):
    r = np.random.default_rng(0)
    problem = incidence(r)
    g = pruned(r, problem.layer)
    kept = sp.csc_array(problem.B.tocsr()[g > 0])
    with_zeros = pc.solve(problem.B, g, method=method)
    without = pc.solve(kept, g[g > 0], method=method)
    assert with_zeros.rows == without.rows == (g > 0).sum()
    assert with_zeros.merged_rows == without.merged_rows
    assert with_zeros.objective == pytest.approx(without.objective, rel=1e-14)
    np.testing.assert_allclose(with_zeros.u, without.u, rtol=0, atol=OPTIMUM)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [layered, residual_stream, twos])
def test_dead_neurons_stay_and_disturb_nobody(incidence, method):
    r = np.random.default_rng(1)
    problem = incidence(r)
    g = mild(r, problem.layer)
    dead = [0, 7, problem.B.shape[1] - 1]
    for neuron in dead:
        g[touching(problem.B, neuron)] = 0
    result = pc.solve(problem.B, g, method=method)
    assert np.flatnonzero(result.frozen).tolist() == dead
    np.testing.assert_array_equal(result.u[dead], 0)
    alive = np.setdiff1d(np.arange(problem.B.shape[1]), dead)
    alone = pc.solve(problem.B[:, alive], g, method=method)
    np.testing.assert_allclose(result.u[alive], alone.u, rtol=0, atol=OPTIMUM)
    assert np.isfinite(result.history).all()


@pytest.mark.parametrize("method", METHODS)
def test_frozen_neurons_keep_their_start(method):
    r = np.random.default_rng(2)
    problem = layered(r)
    g, u0 = mild(r, problem.layer), r.standard_normal(problem.B.shape[1])
    g[touching(problem.B, 5)] = 0
    result = pc.solve(problem.B, g, method=method, u0=u0)
    assert result.frozen[5]
    assert result.u[5] == u0[5]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[1, -1, 1], [1.5, -1, 2]])
def test_frozen_neurons_keep_a_start_that_the_others_leave(values, method):
    # "auto" and "newton" go from far starts to 0.
    B = sp.csc_array((values, [0, 1, 2], [0, 2, 3]), (3, 2))
    result = pc.solve(B, [1.0, 2.0, 0.0], method=method, u0=[361.0, 361.0])
    assert result.frozen.tolist() == [False, True]
    assert result.u[1] == 361


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("side", [1, -1])
def test_neurons_that_lost_one_side(side, method):
    # All that enters (leaves) neuron 3 is pruned; the remaining problem still has a minimiser.
    r = np.random.default_rng(3)
    problem = layered(r)
    g = mild(r, problem.layer)
    column = slice(problem.B.indptr[3], problem.B.indptr[4])
    g[problem.B.indices[column][problem.B.data[column] == side]] = 0
    tol = 1e-13 if method == "cd" else None
    result = pc.solve(problem.B, g, method=method, max_sweeps=20_000, tol=tol)
    assert result.converged
    assert not result.frozen.any()
    assert Oracle.of(problem.B, g).stationarity(result.u) <= STATIONARITY_SEEN


@pytest.mark.parametrize("method", METHODS)
def test_all_weights_zero(method):
    B = from_ends([0, 0, 1], [-1, 1, 2], 3)
    result = pc.solve(B, np.zeros(3), method=method)
    assert result.converged
    assert result.frozen.all()
    assert (result.rows, result.merged_rows, result.sweeps) == (0, 0, 0)
    assert (result.objective, result.gradient_norm) == (0, 0)
    assert result.history.tolist() == [0.0]
    np.testing.assert_array_equal(result.u, np.zeros(3))
    np.testing.assert_array_equal(result.parameter_scales, np.ones(3))


@pytest.mark.parametrize("method", METHODS)
def test_all_weights_zero_from_a_start(method):
    B = from_ends([0, 0, 1], [-1, 1, 2], 3)
    result = pc.solve(B, np.zeros(3), method=method, u0=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(result.u, [1.0, 2.0, 3.0])


def test_negative_zero_is_zero():
    B = from_ends([0, 0, 1], [-1, 1, 2], 3)
    result = pc.solve(B, [-0.0, 1.0, 2.0])
    assert result.rows == 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("incidence", [layered, skips, residual_stream, long_rows, real_values])
def test_heavy_pruning(incidence, share, seed):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    g = mild(r, problem.layer) * (r.random(problem.B.shape[0]) > share)
    result = pc.solve(problem.B, g)
    oracle = Oracle.of(problem.B, g)
    assert result.converged
    assert oracle.stationarity(result.u) <= STATIONARITY_SEEN
    untouched = np.abs(oracle.B).sum(axis=0) == 0
    np.testing.assert_array_equal(result.frozen, np.asarray(untouched).ravel())


@pytest.mark.parametrize("incidence", [layered, residual_stream])
def test_zero_initialised_branch(incidence):
    # As in a residual network whose last layers start at zero: all paths through them vanish.
    r = np.random.default_rng(5)
    problem = incidence(r)
    g = mild(r, problem.layer) * ~np.isin(problem.layer, [1, 2])
    result = pc.solve(problem.B, g)
    assert result.converged
    assert Oracle.of(problem.B, g).stationarity(result.u) <= STATIONARITY_SEEN
