"""One pass over a parameter: its range, and its scaling, against NumPy."""

import itertools
import math

import numpy as np
import pytest

from pathcond_native import _core

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 7, 8, 9, 31, 32, 33, 100, 4099]
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan]


def drawn(size, dtype, seed=0):
    """Both signs, over many decades, denormal numbers among them."""
    r = np.random.default_rng(seed)
    low = -44 if dtype == np.float32 else -320
    return (r.choice([-1, 1], size) * 10.0 ** r.uniform(low, 30, size)).astype(dtype)


def magnitudes(x):
    sizes = np.abs(x[x != 0])
    largest = float(np.abs(x).max(initial=0))  # NaN if an entry is
    return float(np.nanmin(sizes, initial=math.inf)), largest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_magnitudes(size, dtype):
    for seed, zeros in itertools.product(range(5), [0, 0.5, 1]):
        x = drawn(size, dtype, seed)
        x[np.random.default_rng(seed).random(size) < zeros] = 0
        assert _core.magnitudes(x, 1) == magnitudes(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", SPECIAL)
def test_no_special_entry_escapes_notice(special, dtype):
    for size in (1, 9, 70):
        for at in range(size):
            x = drawn(size, dtype)
            x[at] = special
            np.testing.assert_equal(_core.magnitudes(x, 1), magnitudes(x))


def factors(shape, dtype, seed):
    """Every pair of factors that broadcast to a matrix, some of them tiny."""
    r = np.random.default_rng(seed)
    shapes = [(1, 1), (shape[0], 1), (1, shape[1]), shape]
    for first, second in itertools.product(shapes, repeat=2):
        low = -30 if dtype == np.float32 else -250
        yield 10.0 ** r.uniform(low, 4, first), 10.0 ** r.uniform(-4, 4, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 41), (5, 1), (6, 9), (3, 70), (2, 0)])
def test_scale(shape, dtype):
    tiny = np.finfo(dtype).smallest_normal
    for seed, (first, second) in enumerate(factors(shape, dtype, 1)):
        x = drawn(shape, dtype, seed)
        x[np.random.default_rng(seed).random(shape) < 0.1] = 0
        with np.errstate(over="ignore", under="ignore"):
            by_first = x.astype(np.float64) * first
            expected = (by_first * second).astype(dtype)
        new = np.full_like(x, 5)
        largest, lost = _core.scale(x, first, second, new, 1)
        plain = (x == 0) | (np.abs(by_first) >= np.finfo(np.float64).smallest_normal)
        assert new[plain].tobytes() == expected[plain].tobytes()  # others: test_product.py
        assert largest == float(np.abs(new).max(initial=0))
        assert lost == ((np.abs(new) < tiny) & (np.abs(new) < np.abs(x))).sum()
        assert _core.scale(x, first, second, x, 1) == (largest, lost)  # in place
        assert x.tobytes() == new.tobytes()


def test_scale_shows_what_is_not_finite():
    x, one = np.full((2, 40), 1e30, np.float32), np.ones((1, 1))
    new = np.empty_like(x)
    with np.errstate(over="ignore"):
        assert _core.scale(x, one * 1e20, one, new, 1) == (math.inf, 0)
    x[1, 17] = math.nan
    assert math.isnan(_core.scale(x, one, one, new, 1)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing(dtype):
    x = drawn((9000, 1500), dtype)
    r = np.random.default_rng(2)
    first, second = r.uniform(1e-9, 1, (9000, 1)), r.uniform(1, 9, (1, 1500))
    one, several = np.empty_like(x), np.empty_like(x)
    told = _core.scale(x, first, second, one, 1)
    for threads in (2, 3):
        assert _core.scale(x, first, second, several, threads) == told
        assert several.tobytes() == one.tobytes()
        assert _core.magnitudes(x, threads) == magnitudes(x)


def test_what_does_not_fit_is_refused():
    x, one = np.ones((3, 4)), np.ones((1, 1))
    wrong = [
        (x.astype(np.float16), one, one, x.astype(np.float16)),
        (x, one, one, np.ones((4, 3))),
        (x, one, one, np.ones((3, 4), np.float32)),
        (x, np.ones((4, 1)), one, x.copy()),
        (x, np.ones(4), one, x.copy()),
        (x[:, ::2], one, one, np.ones((3, 2))),
        (x, one, one, np.broadcast_to(np.ones((1, 4)), (3, 4))),
    ]
    for arguments in wrong:
        with pytest.raises(TypeError, match="expected"):
            _core.scale(*arguments, 1)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="expected"):
        _core.scale(x, one, one, frozen, 1)
    with pytest.raises(TypeError, match="expected"):
        _core.magnitudes(x.astype(np.int32), 1)
    with pytest.raises(ValueError, match="threads"):
        _core.magnitudes(x, 0)
