"""Against the iterates and optima that the paper's authors' code gives."""

import json

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import DATA, REFERENCES, reference
from tolerances import GAP, ITERATE, SAME_OBJECTIVE, STATIONARITY

import pathcond_native as pc

OBJECTIVES = json.loads((DATA / "objectives.json").read_text())


@pytest.mark.parametrize("sweeps", [1, 2, 5, 10, 100])
@pytest.mark.parametrize("name", REFERENCES)
def test_cd_reproduces_every_iterate(name, sweeps):
    B, data = reference(name)
    result = pc.solve(B, data["g"], method="cd", tol=0, max_sweeps=sweeps)
    assert result.sweeps == sweeps
    assert np.abs(result.u - data[f"u_sweeps_{sweeps}"]).max() <= ITERATE
    expected = OBJECTIVES[name][f"F_sweeps_{sweeps}"]
    assert result.objective == pytest.approx(expected, rel=SAME_OBJECTIVE)


@pytest.mark.parametrize("name", REFERENCES)
def test_cd_stops_by_default_where_the_paper_does(name):
    B, data = reference(name)
    result = pc.solve(B, data["g"], method="cd")
    iterates = [np.zeros(B.shape[1])]
    for sweeps in range(1, 11):
        iterates.append(pc.solve(B, data["g"], method="cd", tol=0, max_sweeps=sweeps).u)
        # A sweep visits every neuron once: sum |du| is the distance of the iterates.
        if np.abs(iterates[-1] - iterates[-2]).sum() < 1e-2:
            break
    assert result.sweeps == len(iterates) - 1
    np.testing.assert_array_equal(result.u, iterates[-1])


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("name", REFERENCES)
def test_exact_methods_reach_the_optimum(name, method):
    B, data = reference(name)
    oracle = Oracle.of(B, data["g"])
    result = pc.solve(B, data["g"], method=method)
    assert result.converged
    assert oracle.stationarity(result.u) <= STATIONARITY
    gap = oracle.objective(result.u) - OBJECTIVES[name]["F_optimal"]
    assert abs(gap) / oracle.rows <= GAP
    assert oracle.objective(result.u) - oracle.objective(data["u_optimal"]) <= GAP * oracle.rows


@pytest.mark.parametrize("name", REFERENCES)
def test_auto_needs_few_sweeps(name):
    B, data = reference(name)
    assert pc.solve(B, data["g"]).sweeps <= 8


@pytest.mark.parametrize("name", REFERENCES)
def test_problem_size_and_initial_objective(name):
    B, data = reference(name)
    result = pc.solve(B, data["g"], max_sweeps=0)
    assert result.rows == OBJECTIVES[name]["p"]
    assert len(result.u) == OBJECTIVES[name]["H"]
    assert result.objective == pytest.approx(OBJECTIVES[name]["F_start"], rel=SAME_OBJECTIVE)
