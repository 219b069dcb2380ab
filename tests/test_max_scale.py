"""max_scale: every lambda within [1/max_scale, max_scale], and F as low as that allows."""

import numpy as np
import pytest
from numpy_oracle import Oracle
from problems import (
    GENERAL,
    PAIRS,
    WEIGHTS,
    decades_inside,
    deep,
    depthwise,
    from_ends,
    layered,
    long_rows,
    mild,
    pruned,
    random_pairs,
    real_values,
    reference,
    residual_stream,
    squared_relu,
    two_scales,
)
from scipy.optimize import minimize
from tolerances import GAP, MONOTONE, STATIONARITY_SEEN

import pathcond_native as pc

METHODS = ("auto", "newton", "cd")


def projected_stationarity(oracle, u, max_scale):
    """max |dF/du| / p by NumPy, without the neurons at an edge that F pushes against it."""
    slope = oracle.gradient(u)
    edge = 2 * np.log(max_scale) * (1 - 1e-12)
    held = ((u >= edge) & (slope < 0)) | ((u <= -edge) & (slope > 0))
    return np.abs(np.where(held, 0, slope)).max(initial=0)


def check(problem, g, max_scale, **options):
    result = pc.solve(problem.B, g, max_scale=max_scale, **options)
    oracle = Oracle.of(problem.B, g)
    assert result.converged
    assert result.scales.max() <= max_scale
    assert result.scales.min() >= 1 / max_scale
    assert projected_stationarity(oracle, result.u, max_scale) <= STATIONARITY_SEEN
    per_row = result.history / oracle.rows
    assert np.diff(per_row).max(initial=-np.inf) <= MONOTONE * (1 + np.abs(per_row).max())
    return result, oracle


def bounds_of(problem, g):
    """Bounds from one that holds nearly every neuron to one that holds the farthest."""
    farthest = np.exp(np.abs(pc.solve(problem.B, g).u).max() / 2)
    return (1.05, max(1.05, farthest**0.5), max(1.05, farthest**0.97))


@pytest.mark.parametrize("weights", (*WEIGHTS, two_scales))
@pytest.mark.parametrize("incidence", PAIRS + GENERAL)
def test_reaches_the_optimum_within_the_bounds(incidence, weights):
    r = np.random.default_rng(1)
    problem = incidence(r)
    g = weights(r, problem.layer)
    for max_scale in bounds_of(problem, g):
        check(problem, g, max_scale)


@pytest.mark.parametrize("incidence", [layered, random_pairs, long_rows, squared_relu])
@pytest.mark.parametrize("max_scale", [1.1, 1.7])
def test_as_low_as_scipy_gets(incidence, max_scale):
    r = np.random.default_rng(2)
    problem = incidence(r)
    g = mild(r, problem.layer)
    oracle = Oracle.of(problem.B, g)
    edge = 2 * np.log(max_scale)
    found = minimize(
        lambda u: (oracle.objective(u) / oracle.rows, oracle.gradient(u)),
        np.zeros(problem.B.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-edge, edge)] * problem.B.shape[1],
        options={"maxcor": 40, "ftol": 0, "gtol": 1e-10, "maxiter": 5000, "maxfun": 10**5},
    )
    for method in METHODS:
        options = {"max_sweeps": 2000, "tol": 1e-12} if method == "cd" else {}
        result, _ = check(problem, g, max_scale, method=method, **options)
        assert abs(result.objective / oracle.rows - found.fun) <= GAP * (1 + abs(found.fun))


@pytest.mark.parametrize("incidence", [layered, deep, residual_stream, depthwise, real_values])
@pytest.mark.parametrize("method", METHODS)
def test_no_bound_reached_is_no_bound(incidence, method):
    r = np.random.default_rng(3)
    problem = incidence(r)
    g = mild(r, problem.layer)
    for max_scale in (np.inf, 1e9):
        bounded = pc.solve(problem.B, g, method=method, max_scale=max_scale)
        assert np.array_equal(bounded.u, pc.solve(problem.B, g, method=method).u)


@pytest.mark.parametrize("method", METHODS)
def test_a_sweep_of_cd_and_every_step_stay_within(method):
    r = np.random.default_rng(4)
    problem = deep(r)
    g = decades_inside(r, problem.layer)
    for sweeps in (0, 1, 2, 5):
        result = pc.solve(problem.B, g, method=method, max_scale=3.0, max_sweeps=sweeps)
        assert np.abs(np.log(result.scales)).max() <= np.log(3.0)
        assert result.sweeps <= sweeps


@pytest.mark.parametrize("name", ["conv_3_8_12_6_4", "mlp_20_32_16_24_5"])
@pytest.mark.parametrize("max_scale", [1.2, 2.0])
def test_cd_is_the_papers_step_cut_off(name, max_scale):
    B, data = reference(name)
    oracle = Oracle.of(B, data["g"])
    edge, u = 2 * np.log(max_scale), np.zeros(B.shape[1])
    for h in range(len(u)):
        # F over one neuron is convex: the best point within bounds is the one nearest to the best.
        u[h] = np.clip(u[h] + oracle.exact_step(oracle.shares(u), h), -edge, edge)
    result = pc.solve(B, data["g"], method="cd", max_scale=max_scale, max_sweeps=1, tol=0)
    assert np.abs(result.u - u).max() <= 1e-10


def test_a_bound_of_one_leaves_everything():
    r = np.random.default_rng(5)
    problem = layered(r)
    for method in METHODS:
        result = pc.solve(problem.B, mild(r, problem.layer), method=method, max_scale=1)
        assert result.converged
        assert not result.u.any()
        assert result.objective == result.initial_objective


def test_a_tighter_bound_is_never_better():
    r = np.random.default_rng(6)
    problem = residual_stream(r)
    g = decades_inside(r, problem.layer)
    objectives = [pc.solve(problem.B, g, max_scale=s).objective for s in (1, 1.5, 4, 1e2, 1e9)]
    assert (np.diff(objectives) <= 0).all()


def test_from_the_optimum_nothing_moves():
    r = np.random.default_rng(7)
    problem = layered(r)
    g = mild(r, problem.layer)
    first = pc.solve(problem.B, g, max_scale=1.3)
    again = pc.solve(problem.B, g, max_scale=1.3, u0=first.u)
    assert again.sweeps == 0
    assert np.array_equal(again.u, first.u)


def test_a_factor_of_g_and_the_order_of_rows_do_not_matter():
    r = np.random.default_rng(8)
    problem = layered(r)
    g = pruned(r, problem.layer)
    u = pc.solve(problem.B, g, max_scale=1.5).u
    order = r.permutation(len(g))
    assert np.abs(pc.solve(problem.B.tocsr()[order], g[order], max_scale=1.5).u - u).max() <= 1e-8
    assert np.abs(pc.solve(problem.B, 1e200 * g, max_scale=1.5).u - u).max() <= 1e-8


def test_threads_do_not_matter():
    r = np.random.default_rng(9)
    problem = deep(r)
    g = mild(r, problem.layer)
    one, two = (pc.solve(problem.B, g, max_scale=1.2, threads=n) for n in (1, 2))
    assert np.array_equal(one.u, two.u)


@pytest.mark.parametrize("bad", [0.999, 0, -2.0, np.nan, "much", [2.0], 2j])
def test_bounds_that_are_none(bad):
    with pytest.raises(pc.InvalidInputError, match=r"^max_scale: "):
        pc.solve(from_ends([0, -1], [-1, 0], 1), np.ones(2), max_scale=bad)


def test_a_start_beyond_the_bounds():
    B, g = from_ends([0, -1], [-1, 0], 1), np.array([1.0, 2.0])
    with pytest.raises(pc.InvalidInputError, match=r"^u0: .*max_scale"):
        pc.solve(B, g, max_scale=2, u0=[1.5])
    assert pc.solve(B, g, max_scale=2, u0=[2 * np.log(2)]).converged
