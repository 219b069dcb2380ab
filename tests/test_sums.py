"""Sums over tensors of g, and what is seen of their entries on the way, against NumPy."""

import itertools
import math

import numpy as np
import pytest

from pathcond_native import _core

SHAPES = [  # (k, e, l, s, r)
    (1, 3, 5, 1, 1),
    (1, 9, 37, 1, 1),
    (1, 1, 70, 1, 9),
    (1, 7, 13, 1, 9),
    (1, 6, 4, 11, 1),
    (1, 33, 1, 1, 40),
    (2, 3, 4, 5, 7),
    (1, 1, 1, 1, 131),
]
BAD = [0.0, -0.0, -1.0, math.nan, -math.nan, math.inf, -math.inf]


def laid(shape, order, dtype, seed):
    """Positive entries over six decades whose axes lie in memory in some order."""
    rng = np.random.default_rng(seed)
    drawn = 10.0 ** rng.uniform(-3, 3, size=[shape[axis] for axis in order])
    return drawn.astype(dtype).transpose(np.argsort(order))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("over", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("shape", SHAPES)
def test_sums(shape, over, dtype):
    kept = tuple(axis + 1 for axis in range(2) if over[axis])
    for seed, order in enumerate(itertools.permutations(range(5))):
        part = laid(shape, order, dtype, seed)
        expected = part.astype(np.float64).sum(axis=(*kept, 3, 4), keepdims=True)
        sums = _core.reduce(part, *over)
        assert sums.dtype == np.float64 and sums.shape == expected.shape
        np.testing.assert_allclose(sums, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_entry_escapes_notice(shape, bad, dtype):
    size = math.prod(shape)
    for order in ((0, 1, 2, 3, 4), (2, 0, 4, 1, 3)):
        part = laid(shape, order, dtype, 0)
        for at in range(0, size, 1 + size // 200):
            broken = part.copy(order="K")
            broken[np.unravel_index(at, shape)] = bad
            assert _core.reduce(broken, False, True) is None


def options(**changes):
    plain = {
        "method": "auto",
        "linear": True,
        "tolerance": None,
        "max_sweeps": 0,
        "u0": [],
        "max_scale": math.inf,
        "threads": 1,
        "callback": None,
    }
    return {**plain, **changes}


def layer(g):
    """A layer of 13 to 11 neurons that stays where it is, and what gives them an outside."""
    inner, outer = np.arange(13, dtype=np.int32), np.arange(13, 24, dtype=np.int32)
    none = np.full((1, 1), -1, np.int32)
    ends = np.ones((1, 1, 1, 1, 1), g.dtype)
    first, last = (np.repeat(ends, n, axis) for n, axis in ((13, 1), (11, 2)))
    return [
        (first, inner[None], none, 1),
        (g.reshape(1, 11, 13, 1, 1), outer[None], inner[None], 1),
        (last, none, outer[None], 1),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_matrix_that_stays_in_place(dtype):
    g = laid((11, 13), (0, 1), dtype, 0)
    solution = _core.solve_panels(24, layer(g), **options())
    rows = g.size + 24
    total = g.astype(np.float64).sum() + 24
    assert solution.initial_objective == pytest.approx(rows * math.log(total), rel=1e-14)
    degree = np.concatenate([np.full(13, 11 - 1), np.full(11, 1 - 13)])
    flow = np.concatenate([g.sum(axis=0, dtype=float) - 1, 1 - g.sum(axis=1, dtype=float)])
    norm = np.abs(flow / total - degree / rows).max()
    assert solution.gradient_norm == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("bad", [x for x in BAD if x != 0])
def test_no_entry_of_it_escapes_notice(bad):
    for at in range(11 * 13):
        g = laid((11, 13), (0, 1), np.float64, 0)
        g.reshape(-1)[at] = bad
        assert _core.solve_panels(24, layer(g), **options()) is None
