"""Dense layers whose merged weights are, or are close to, rank-one matrices."""

from itertools import pairwise

import numpy as np
import pytest
import tolerances as tol
from numpy_oracle import Oracle
from problems import network

import pathcond_native as pc

WIDTHS = (20, 128, 160, 96, 10)
B = network(WIDTHS).B


def weights(seed, spread, noise):
    """What flows into a neuron times what flows out of it, as diag(G) is, times noise."""
    rng = np.random.default_rng(seed)
    parts, into = [], np.ones(WIDTHS[0])
    for _, width in pairwise(WIDTHS):
        out = np.exp(spread * rng.standard_normal(width))
        parts += [np.outer(out, into).ravel(), out]
        into = np.exp(spread * rng.standard_normal(width))
    g = np.concatenate(parts)
    return g * np.exp(noise * rng.standard_normal(len(g)))


def solve(g, **options):
    result = pc.solve(B, g, **options)
    assert Oracle.of(B, g).stationarity(result.u) <= tol.STATIONARITY_SEEN
    assert (np.diff(result.history) <= tol.MONOTONE * np.abs(result.history).max()).all()
    return result


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_rank_one_layers_need_one_pass(seed, spread):
    result = solve(weights(seed, spread, 0.0))
    assert (result.sweeps, result.passes) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_close_to_rank_one(seed):
    g = weights(seed, 1.0, 0.01)
    result = solve(g)
    assert result.passes <= 8
    exact = pc.solve(B, g, method="newton", tol=1e-13)
    assert np.abs(result.u - exact.u).max() <= tol.OPTIMUM


@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0, 12.0])
def test_far_from_rank_one(noise):
    result = solve(weights(0, 1.0, noise))
    assert result.converged
    assert result.sweeps <= 25


def test_a_layer_that_is_nearly_a_permutation():
    rng = np.random.default_rng(0)
    g = weights(0, 1.0, 0.0)
    first = WIDTHS[0] * WIDTHS[1] + WIDTHS[1]
    layer = g[first : first + WIDTHS[1] * WIDTHS[2]].reshape(WIDTHS[2], WIDTHS[1])
    layer[rng.permutation(WIDTHS[2])[: WIDTHS[1]], np.arange(WIDTHS[1])] *= 1e8
    assert solve(g).converged


def test_from_another_start():
    g, rng = weights(1, 1.0, 0.05), np.random.default_rng(1)
    result = solve(g, u0=rng.uniform(-5, 5, B.shape[1]))
    assert np.abs(result.u - solve(g).u).max() <= tol.OPTIMUM
    again = solve(g, u0=result.u)
    assert again.sweeps == 0
    assert np.array_equal(again.u, result.u)


def test_sweeps_are_counted_and_stopped():
    g = weights(2, 1.0, 0.1)
    seen = []
    stopped = pc.solve(B, g, callback=lambda *sweep: seen.append(sweep) or True)
    assert stopped.status == "stopped_by_callback"
    assert [sweep for sweep, _, _ in seen] == [1]
    one = pc.solve(B, g, max_sweeps=1)
    assert one.status == "max_sweeps"
    assert np.array_equal(one.u, stopped.u)
    assert len(one.history) == 2
    assert Oracle.of(B, g).objective(one.u) == pytest.approx(one.objective, rel=1e-13)
    assert not pc.solve(B, g, max_sweeps=0).u.any()


def test_threads_and_scale_of_g():
    g = weights(3, 1.0, 0.1)
    result = solve(g, threads=1)
    assert np.array_equal(result.u, solve(g, threads=2).u)
    assert np.array_equal(result.u, solve(g * 2.0**40, threads=1).u)


@pytest.mark.parametrize("size", [1e2, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("method", ["auto", "newton"])
def test_from_far_away(size, method):
    g, rng = weights(4, 1.0, 0.3), np.random.default_rng(4)
    result = solve(g, u0=rng.uniform(-size, size, B.shape[1]), method=method, max_sweeps=100)
    assert result.converged
    assert result.history[0] == pytest.approx(result.initial_objective)
