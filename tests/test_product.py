"""Products of a parameter with two factors, over the whole range, against rational numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcond_native import _core
from pathcond_native.engine.factors import multiplied

DTYPES = [np.float32, np.float64]
LEAST, MOST = -1074, 1023  # exponents of float64

thorough = settings(deadline=None, derandomize=True, max_examples=100)


@st.composite
def products(draw, dtype, powers_of_two=False):
    """x and two factors; what they multiply to mostly lies in the dtype's range."""
    info = np.finfo(dtype)
    least, most = round(math.log2(info.smallest_subnormal)), round(math.log2(info.max)) - 1

    def number(exponent):
        mantissa = 2**52 if powers_of_two else draw(st.integers(2**52, 2**53 - 1))
        exponent = max(LEAST, min(exponent, MOST))
        return math.ldexp(mantissa, exponent - 52)

    of_x = draw(st.integers(least, most))
    of_first = draw(st.integers(LEAST, MOST) | st.integers(-60, 60))
    of_second = draw(st.integers(least - 2, most)) - of_x - of_first
    size = math.ldexp(draw(st.integers(2**23, 2**24 - 1)), of_x - 23)
    x = dtype(draw(st.sampled_from([-1, 1])) * size)
    return x, number(of_first), number(of_second)


def scaled(drawn, dtype):
    x, first, second = (np.array([column]) for column in zip(*drawn, strict=True))
    assert x.dtype == dtype
    new = np.empty_like(x)
    _core.scale(x, first, second, new, 1)
    return new[0]


@pytest.mark.parametrize("dtype", DTYPES)
@thorough
@given(st.data())
def test_a_product_is_rounded_once(dtype, data):
    drawn = data.draw(st.lists(products(dtype), min_size=1, max_size=40))
    info = np.finfo(dtype)
    for factors, found in zip(drawn, scaled(drawn, dtype), strict=True):
        exact = math.prod(Fraction(float(y)) for y in factors)
        unit = Fraction(float(info.smallest_subnormal))
        # Two roundings of a double, each half an ulp, and the one to the dtype.
        roundings = Fraction(1, 2**52) + Fraction(float(info.eps)) / 2 * (dtype == np.float32)
        allowed = roundings * abs(exact) * (1 + Fraction(1, 2**20)) + unit
        if np.isfinite(found):
            assert abs(Fraction(float(found)) - exact) <= allowed, factors
        else:
            assert abs(exact) + allowed >= Fraction(float(info.max)), factors
            assert (found > 0) == (exact > 0), factors


@pytest.mark.parametrize("dtype", DTYPES)
@thorough
@given(st.data())
def test_powers_of_two_are_exact_where_the_result_is(dtype, data):
    drawn = data.draw(st.lists(products(dtype, powers_of_two=True), min_size=1, max_size=40))
    info = np.finfo(dtype)
    unit, most = (Fraction(float(limit)) for limit in (info.smallest_subnormal, info.max))
    for factors, found in zip(drawn, scaled(drawn, dtype), strict=True):
        exact = math.prod(Fraction(float(y)) for y in factors)
        if abs(exact) <= most and (exact / unit).denominator == 1:
            assert Fraction(float(found)) == exact, factors


def test_the_first_product_may_leave_the_range():
    for x, first, second, expected in [
        (2e-311, 1e-10, 1e10, 2e-311),  # was 1 % off
        (1e-300, 1e-100, 1e100, 1e-300),
        (1e300, 1e100, 1e-100, 1e300),
        (-5e-324, 2.0**-1000, 2.0**1000, -5e-324),
        (5e-324, 2.0**500, 2.0**-500, 5e-324),
        (1.5, 2.0**-1074, 2.0**1023, 1.5 * 2.0**-51),
        (0.0, 1e-320, 1e10, 0.0),
        (math.inf, 1e-320, 1e10, math.inf),
    ]:
        found = multiplied(np.array(x), np.array([first]), np.array([second]))
        np.testing.assert_allclose(found, [expected], rtol=1e-11 if abs(x) < 1e-300 else 3e-16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rare_entry_is_found_wherever_it_is(dtype):
    r = np.random.default_rng(0)
    for at in (0, 7, 1023, 1024, 2500):
        x = r.normal(size=(2, 2501)).astype(dtype)
        x[1, at] = np.finfo(dtype).smallest_normal
        first, second = np.full((2, 1), 2.0**-900), np.full((1, 2501), 2.0**900)
        new = np.empty_like(x)
        assert _core.scale(x, first, second, new, 1) == (float(np.abs(x).max()), 0)
        assert new.tobytes() == x.tobytes()
