"""What must not change u, and what must change it in a known way."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy_oracle import Oracle
from problems import (
    GENERAL,
    PAIRS,
    decades_inside,
    dense_real,
    layered,
    long_rows,
    mild,
    real_values,
    residual_stages,
    residual_stream,
    skips,
    squared_relu,
    twos,
)
from tolerances import GAP, LONG_SUM, OPTIMUM, ROUNDING, STATIONARITY, STATIONARITY_SEEN

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")
UNIQUE = (layered, skips, residual_stream, long_rows, twos, real_values, squared_relu, dense_real)


def drawn(incidence, seed, weights=mild):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    return problem.B, weights(r, problem.layer), r


def to_optimum(method):
    """Options that make every method end at the optimum."""
    return {"method": method, "max_sweeps": 20_000, "tol": 1e-11 if method == "cd" else None}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("power", [-600, -1, 64, 700])  # beyond, other sums are taken
@pytest.mark.parametrize("incidence", [layered, residual_stages, twos])
def test_powers_of_two_change_no_bit(incidence, power, method):
    B, g, _ = drawn(incidence, 0)
    plain = pc.solve(B, g, method=method)
    scaled = pc.solve(B, np.ldexp(g, power), method=method)
    np.testing.assert_array_equal(scaled.u, plain.u)
    assert scaled.sweeps == plain.sweeps
    shift = plain.rows * power * np.log(2)
    assert scaled.objective == pytest.approx(plain.objective + shift, rel=ROUNDING)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-200, 1e200, 3.0])
@pytest.mark.parametrize("incidence", UNIQUE)
def test_a_common_factor_of_g_does_not_change_u(incidence, factor, method):
    B, g, _ = drawn(incidence, 1)
    plain, scaled = (pc.solve(B, weights, method=method) for weights in (g, g * factor))
    assert np.abs(scaled.u - plain.u).max() <= OPTIMUM


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-280, 1e280])
def test_a_common_factor_over_30_decades(factor, method):
    B, g, _ = drawn(layered, 2, decades_inside)
    oracle = Oracle.of(B, g)
    plain, scaled = (pc.solve(B, weights, method=method) for weights in (g, g * factor))
    assert np.abs(oracle.gradient(scaled.u) - oracle.gradient(plain.u)).max() <= STATIONARITY * 2


@pytest.mark.parametrize("method", METHODS)
def test_denormal_weights(method):
    B, g, _ = drawn(layered, 3)
    g = np.round(1000 * g) + 1
    plain = pc.solve(B, g, **to_optimum(method))
    denormal = pc.solve(B, g * 5e-324, **to_optimum(method))  # exact: integers times the smallest
    assert np.abs(denormal.u - plain.u).max() <= OPTIMUM


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("g", [[1.0, 1e-300, 1.0], [1e300, 1.0, 1.0], [1e-300, 1e300, 1.0]])
def test_one_neuron_between_extreme_weights(g, method):
    # g may span more decades than a double has: 600 in the last case.
    B = np.array([[1], [-1], [0]])
    oracle = Oracle.of(B, g)
    result = pc.solve(B, g, **to_optimum(method))
    assert oracle.stationarity(result.u) <= STATIONARITY_SEEN
    at_optimum = oracle.objective([(np.log(g[1]) - np.log(g[0])) / 2])
    assert oracle.objective(result.u) == pytest.approx(at_optimum, abs=oracle.rows * GAP)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", UNIQUE)
def test_order_of_rows(incidence, method):
    B, g, r = drawn(incidence, 4)
    order = r.permutation(len(g))
    plain = pc.solve(B, g, method=method)
    shuffled = pc.solve(sp.csc_array(B.tocsr()[order]), g[order], method=method)
    assert np.abs(shuffled.u - plain.u).max() <= OPTIMUM


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", UNIQUE)
def test_order_of_neurons(incidence, method):
    B, g, r = drawn(incidence, 5)
    order = r.permutation(B.shape[1])
    plain = pc.solve(B, g, **to_optimum(method))
    shuffled = pc.solve(B[:, order], g, **to_optimum(method))
    assert np.abs(shuffled.u - plain.u[order]).max() <= OPTIMUM


@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_constant_weights_are_optimal_already(incidence):
    B = drawn(incidence, 6)[0]
    for g in (np.ones(B.shape[0]), np.full(B.shape[0], 0.7), np.full(B.shape[0], 3e-150)):
        for method in ("auto", "newton"):
            result = pc.solve(B, g, method=method)
            assert (result.converged, result.sweeps) == (True, 0)
            np.testing.assert_array_equal(result.u, np.zeros(B.shape[1]))
        # cd always takes its first sweep, which adds rounding.
        result = pc.solve(B, g, method="cd")
        assert (result.converged, result.sweeps) == (True, 1)
        np.testing.assert_allclose(result.u, 0, atol=LONG_SUM)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("incidence", UNIQUE)
def test_every_row_k_times(incidence, copies, method):
    # p, d and the sum all grow by the same factor: F is multiplied by it.
    B, g, _ = drawn(incidence, 7)
    plain = pc.solve(B, g, method=method)
    copied = pc.solve(sp.csc_array(sp.vstack([B] * copies)), np.tile(g, copies), method=method)
    assert copied.rows == copies * plain.rows
    assert copied.merged_rows == plain.merged_rows
    assert np.abs(copied.u - plain.u).max() <= OPTIMUM


def test_splitting_one_row_is_another_problem():
    # The total weight stays, but p and d change: 6 and 2 of 4 rows, then 3 + 3 and 2 of 5.
    whole = np.array([[1], [-1], [0], [0]])
    split = np.array([[1], [1], [-1], [0], [0]])
    g, g_split = [6.0, 2.0, 1.0, 1.0], [3.0, 3.0, 2.0, 1.0, 1.0]
    assert pc.solve(whole, g).u == pytest.approx([np.log(2 / 6) / 2], abs=OPTIMUM)
    # p - d = 4, p + d = 6: 24 t^2 - 2 t - 12 = 0.
    expected = np.log((2 + np.sqrt(4 + 4 * 24 * 12)) / 48)
    assert pc.solve(split, g_split).u == pytest.approx([expected], abs=OPTIMUM)


@pytest.mark.parametrize("method", ["auto", "newton"])
@pytest.mark.parametrize("weights", [mild, decades_inside])
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_nothing_to_do_from_the_solution(incidence, weights, method):
    B, g, _ = drawn(incidence, 8, weights)
    first = pc.solve(B, g, method=method)
    # Both solves must find the same gradient up to rounding, so the second asks for less.
    again = pc.solve(B, g, method=method, u0=first.u, tol=STATIONARITY_SEEN)
    assert again.converged
    assert again.sweeps == 0
    np.testing.assert_array_equal(again.u, first.u)
    assert len(again.history) == 1


def test_cd_stays_at_the_solution():
    B, g, _ = drawn(layered, 9)
    first = pc.solve(B, g, method="newton", tol=1e-15)
    again = pc.solve(B, g, method="cd", u0=first.u)
    assert again.sweeps == 1
    assert np.abs(again.u - first.u).max() <= OPTIMUM


@pytest.mark.parametrize("size", [1.0, 30.0, 100.0, 200.0, 300.0])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", UNIQUE)
def test_starting_point_does_not_matter(incidence, method, size):
    B, g, r = drawn(incidence, 10)
    u0 = r.uniform(-size, size, B.shape[1])
    plain = pc.solve(B, g)
    started = pc.solve(B, g, u0=u0, **to_optimum(method))
    assert started.converged
    assert np.abs(started.u - plain.u).max() <= OPTIMUM


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", UNIQUE)
def test_rescaled_networks_have_one_optimum(incidence, method):
    B, g, r = drawn(incidence, 11)
    c = 3 * r.standard_normal(B.shape[1])
    plain = pc.solve(B, g, **to_optimum(method))
    rescaled = pc.solve(B, g * np.exp(B @ c), **to_optimum(method))
    assert np.abs(rescaled.u + c - plain.u).max() <= OPTIMUM


def test_problems_used_here_have_one_optimum():
    for incidence in UNIQUE:
        B, g, _ = drawn(incidence, 0)
        assert Oracle.of(B, g).is_unique(), incidence.__name__
