"""The oracle against finite differences, so that one mistake cannot hide in both."""

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import REFERENCES, layered, long_rows, pruned, real_values, reference
from tolerances import FINITE_DIFFERENCE, OPTIMUM, STATIONARITY


@pytest.mark.parametrize("incidence", [layered, long_rows, real_values])
def test_gradient_and_hessian_by_finite_differences(incidence):
    r = np.random.default_rng(0)
    problem = incidence(r)
    oracle = Oracle.of(problem.B, pruned(r, problem.layer))
    u, step = r.standard_normal(problem.B.shape[1]), 1e-5
    for h in range(0, len(u), 7):
        unit = np.zeros(len(u))
        unit[h] = step
        slope = (oracle.objective(u + unit) - oracle.objective(u - unit)) / (2 * step)
        assert abs(slope / oracle.rows - oracle.gradient(u)[h]) <= FINITE_DIFFERENCE
        bend = (oracle.gradient(u + unit) - oracle.gradient(u - unit)) / (2 * step)
        assert np.abs(bend - oracle.hessian(u)[h]).max() <= FINITE_DIFFERENCE


@pytest.mark.parametrize("name", REFERENCES)
def test_dense_newton_finds_the_reference_optimum(name):
    B, data = reference(name)
    oracle = Oracle.of(B, data["g"])
    u = oracle.minimise()
    assert oracle.is_unique()
    assert oracle.stationarity(u) <= STATIONARITY
    assert np.abs(u - data["u_optimal"]).max() <= OPTIMUM


@pytest.mark.parametrize("name", REFERENCES)
def test_slow_coordinate_descent_gives_the_reference_iterates(name):
    B, data = reference(name)
    u = Oracle.of(B, data["g"]).coordinate_descent(2)
    assert np.abs(u - data["u_sweeps_2"]).max() <= OPTIMUM


def test_uniqueness_is_told_by_the_rank():
    # Shifting all neurons of this chain changes all rows alike: F is constant along (1, 2).
    B = np.array([[-1.0, 0.0], [1.0, -1.0], [-1.0, 0.0]])
    assert not Oracle.of(B, np.ones(3)).is_unique()
    assert Oracle.of(np.vstack([B, [[0.0, 1.0]]]), np.ones(4)).is_unique()
