"""Properties on small random problems, against the dense oracle."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy_oracle import Oracle
from problems import from_ends
from tolerances import (
    EXACT_STEP,
    GAP,
    MONOTONE,
    OPTIMUM,
    POSTERIOR,
    ROOTS_FAR_APART,
    STATIONARITY_SEEN,
)

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")

moderate = settings(
    deadline=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def weights(draw, rows):
    """Some zeros, some equal, up to 20 decades apart."""
    exponents = draw(arrays(np.float64, rows, elements=st.floats(-10, 10)))
    kept = draw(arrays(np.bool_, rows))
    return 10.0**exponents * np.where(draw(st.booleans()), True, kept)


@st.composite
def pair_problems(draw):
    neurons = draw(st.integers(1, 6))
    rows = draw(st.integers(1, 24))
    ends = st.integers(-1, neurons - 1)
    leave = draw(arrays(np.int64, rows, elements=ends))
    enter = draw(arrays(np.int64, rows, elements=ends))
    return from_ends(leave, enter, neurons).toarray(), draw(weights(rows))


def matrices(values):
    @st.composite
    def problems(draw):
        shape = draw(st.integers(1, 20)), draw(st.integers(1, 5))
        return draw(arrays(np.float64, shape, elements=values)), draw(weights(shape[0]))

    return problems()


integer_problems = matrices(st.sampled_from([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]))
real_problems = matrices(st.one_of(st.just(0.0), st.floats(0.1, 3), st.floats(-3, -0.1)))
problems = st.one_of(pair_problems(), integer_problems, real_problems)


@moderate
@given(problem=problems, method=st.sampled_from(["auto", "newton"]))
def test_optimum(problem, method):
    B, g = problem
    result = pc.solve(B, g, method=method)
    assert result.converged
    oracle = Oracle.of(B, g)
    assert result.rows == oracle.rows
    if oracle.rows == 0:
        assert result.frozen.all()
        return
    assert oracle.stationarity(result.u) <= STATIONARITY_SEEN
    best = oracle.minimise()
    scale = 1 + abs(oracle.objective(best)) / oracle.rows
    gap = (oracle.objective(result.u) - oracle.objective(best)) / oracle.rows
    assert gap <= GAP * scale
    curvature = np.linalg.eigvalsh(oracle.hessian(best))[0] if oracle.is_unique() else 0
    if curvature > 1e-3:
        assert np.abs(result.u - best).max() <= OPTIMUM


@moderate
@given(problem=problems, data=st.data())
def test_cd_follows_the_oracle(problem, data):
    B, g = problem
    u0 = data.draw(arrays(np.float64, B.shape[1], elements=st.floats(-5, 5)))
    oracle = Oracle.of(B, g)
    if oracle.rows == 0:
        return
    result = pc.solve(B, g, method="cd", tol=0, max_sweeps=3, u0=u0)
    expected = oracle.coordinate_descent(3, u0)
    # Where a step is ill-determined u may differ by more than the function can tell, and the
    # oracle's roots, of weights ten decades apart, are the less exact ones.
    gap = (oracle.objective(result.u) - oracle.objective(expected)) / oracle.rows
    assert -ROOTS_FAR_APART <= gap / (1 + np.abs(expected).max()) <= EXACT_STEP


@moderate
@given(problem=problems, method=st.sampled_from(METHODS), data=st.data())
def test_descent_from_anywhere(problem, method, data):
    B, g = problem
    u0 = data.draw(arrays(np.float64, B.shape[1], elements=st.floats(-20, 20)))
    result = pc.solve(B, g, method=method, u0=u0, max_sweeps=50)
    assert len(result.history) == result.sweeps + 1
    per_row = result.history / max(1, result.rows)
    assert np.diff(per_row).max(initial=0) <= MONOTONE * (1 + np.abs(per_row).max())
    assert np.isfinite(result.u).all()
    np.testing.assert_array_equal(result.u[result.frozen], u0[result.frozen])


@moderate
@given(problem=problems, seed=st.integers(0, 2**32 - 1))
def test_shares_do_not_depend_on_the_order(problem, seed):
    # The shares pi at the optimum are unique, u need not be.
    B, g = problem
    r = np.random.default_rng(seed)
    rows, neurons = r.permutation(B.shape[0]), r.permutation(B.shape[1])
    if not (g > 0).any():
        return
    plain = pc.solve(B, g)
    shuffled = pc.solve(B[rows][:, neurons], g[rows])
    back = np.empty_like(plain.u)
    back[neurons] = shuffled.u
    oracle = Oracle.of(B, g)
    assert np.abs(oracle.shares(back) - oracle.shares(plain.u)).max() <= POSTERIOR


@moderate
@given(problem=problems, method=st.sampled_from(METHODS), power=st.integers(-300, 300))
def test_common_powers_of_two_change_no_bit(problem, method, power):
    B, g = problem
    plain = pc.solve(B, g, method=method, max_sweeps=5)
    scaled = pc.solve(B, np.ldexp(g, power), method=method, max_sweeps=5)
    np.testing.assert_array_equal(scaled.u, plain.u)


@moderate
@given(problem=problems)
def test_frozen_neurons_are_those_without_a_row(problem):
    B, g = problem
    result = pc.solve(B, g)
    np.testing.assert_array_equal(result.frozen, ~(B[g > 0] != 0).any(axis=0))
    assert result.u[result.frozen] == pytest.approx(0, abs=0)
