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
