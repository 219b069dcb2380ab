"""F never increases from one sweep to the next."""

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import GENERAL, PAIRS, WEIGHTS, decades_inside, layered, mild, residual_stages, twos
from tolerances import MONOTONE, SAME_OBJECTIVE

import pathcond_native as pc


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_history_never_increases(incidence, weights, method):
    r = np.random.default_rng(10)
    problem = incidence(r)
    g = weights(r, problem.layer)
    u0 = 2 * r.standard_normal(problem.B.shape[1])
    result = pc.solve(problem.B, g, method=method, max_sweeps=30, tol=0, u0=u0)
    per_row = result.history / result.rows
    assert np.diff(per_row).max() <= MONOTONE * (1 + np.abs(per_row).max())
    assert per_row[-1] < per_row[0]


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("seed", [0, 221])
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_history_never_increases_on_the_way_to_a_far_optimum(incidence, seed, method):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    away = problem.B @ r.uniform(-30, 30, problem.B.shape[1])
    g = np.exp(np.clip(away, -300, 300) + r.standard_normal(len(away)))
    per_row = pc.solve(problem.B, g, method=method, max_sweeps=30).history / len(g)
    assert np.diff(per_row).max() <= MONOTONE * (1 + np.abs(per_row).max())
    assert per_row[-1] < per_row[0]


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("weights", [mild, decades_inside])
@pytest.mark.parametrize("incidence", [layered, residual_stages, twos])
def test_history_is_the_objective_of_the_iterates(incidence, weights, method):
    r = np.random.default_rng(11)
    problem = incidence(r)
    g = weights(r, problem.layer)
    oracle = Oracle.of(problem.B, g)
    history = pc.solve(problem.B, g, method=method, max_sweeps=6, tol=0).history
    seen = np.array(
        [
            oracle.objective(pc.solve(problem.B, g, method=method, max_sweeps=k, tol=0).u)
            for k in range(len(history))
        ]
    )
    rounding = SAME_OBJECTIVE * (oracle.rows + np.abs(seen).max())
    assert np.abs(history - seen).max() <= rounding
    assert np.diff(seen).max() <= rounding


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("seed", range(8))
def test_entries_of_any_size_never_end_above_the_start(seed, method):
    r = np.random.default_rng(seed)
    B = 10.0 ** r.uniform(-28, 28, (41, 3)) * r.choice([-1, 1], (41, 3))
    g = 10.0 ** r.uniform(-15, 15, 41)
    result = pc.solve(B, g, method=method)
    assert np.isfinite(result.u).all()
    oracle = Oracle.of(B, g)
    rise = (oracle.objective(result.u) - oracle.objective(np.zeros(3))) / oracle.rows
    assert rise <= SAME_OBJECTIVE * oracle.rows


def test_sweeps_of_cd_that_leave_the_range_of_numbers():
    # The second neuron's step changes exponents by 700.
    B = np.array([[0, -1.31987362, 0], [0, -1.26210645, -1.8825699]])
    history = pc.solve(B, [20.967, 4.2e8], method="cd", u0=[-79, 83, -7]).history / 2
    assert np.isfinite(history).all()
    assert np.diff(history).max() <= MONOTONE * (1 + np.abs(history).max())


def test_exact_steps_where_other_rows_outweigh_all_of_the_neuron():
    # What leaves, 1e-160 e^u, and half of what enters, 2e30 e^(-u/2), are equal there.
    B, g = [[1], [-0.5], [-0.5], [0]], [1e-160, 1e30, 1e30, 1e300]
    result = pc.solve(B, g, method="cd", max_sweeps=1, tol=0)
    assert result.u[0] == pytest.approx(np.log(1e190) * 2 / 3, rel=1e-14)
