"""Results do not depend on the number of threads, on problems large enough to use several."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from tolerances import STATIONARITY_SEEN

import pathcond_native as pc


def wide_network(taps):
    """600-500-400-10 without biases, rows in the order of the weights: about 10^6 entries."""
    widths = (600, 500, 400, 10)
    offsets = np.concatenate([[-1], np.cumsum([0, *widths[1:-2]]), [-1]])
    rows, columns, signs = [], [], []
    start = 0
    for layer, (n_in, n_out) in enumerate(pairwise(widths)):
        size = n_in * n_out * taps
        row = start + np.arange(size)
        source = np.tile(np.repeat(np.arange(n_in), taps), n_out)
        target = np.repeat(np.arange(n_out), n_in * taps)
        if layer > 0:
            rows.append(row)
            columns.append(offsets[layer] + source)
            signs.append(np.ones(size, np.int8))
        if layer < len(widths) - 2:
            rows.append(row)
            columns.append(offsets[layer + 1] + target)
            signs.append(-np.ones(size, np.int8))
        start += size
    entries = (np.concatenate(rows), np.concatenate(columns))
    return sp.coo_array((np.concatenate(signs), entries), shape=(start, 900)).tocsc()


@pytest.mark.parametrize("method", ["auto", "cd"])
@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("zeros", [False, True])
def test_bitwise_equal_for_any_number_of_threads(taps, dtype, zeros, method):
    B = wide_network(taps)
    r = np.random.default_rng(taps)
    g = np.exp(r.standard_normal(B.shape[0])).astype(dtype)
    if zeros:
        g[r.random(len(g)) < 0.1] = 0
    one = pc.solve(B, g, method=method, threads=1)
    for threads in (2, 3, 7):
        several = pc.solve(B, g, method=method, threads=threads)
        assert np.array_equal(several.u, one.u)
        assert several.merged_rows == one.merged_rows


@pytest.mark.parametrize("taps", [1, 3])
def test_optimum_of_a_wide_network(taps):
    B = wide_network(taps)
    g = np.exp(np.random.default_rng(taps).standard_normal(B.shape[0]))
    result = pc.solve(B, g, threads=3)
    assert result.converged
    v = B @ result.u
    pi = g * np.exp(v)
    pi /= pi.sum()
    gradient = B.T @ pi - np.asarray(B.sum(axis=0)).ravel() / len(g)
    assert np.abs(gradient).max() <= STATIONARITY_SEEN
