"""`solve` on whatever hypothesis thinks of: every kind of B, g and option, sound or broken.

PATHCOND_FUZZ_EXAMPLES sets the number of examples. The C++ fuzzer beside this file looks at the
core; this looks at what Python makes of its arguments.
"""

import os
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy_oracle import Oracle
from problems import from_ends

import pathcond_native as pc

EXAMPLES = int(os.environ.get("PATHCOND_FUZZ_EXAMPLES", "300"))
INTEGERS = ("int8", "int16", "int32", "int64")
REALS = ("float32", "float64")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
]


@st.composite
def matrices(draw):
    """A sound B, dense; the numbers follow from a seed, which shrinks better than arrays do."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, neurons = draw(st.integers(0, 24)), draw(st.integers(0, 6))
    kind = draw(st.sampled_from(["pairs", "integers", "reals", "far apart"]))
    if kind == "pairs":
        ends = r.integers(-1, neurons, (2, rows))
        return from_ends(*ends, neurons).toarray()
    kept = r.random((rows, neurons)) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    if kind == "integers":
        return r.integers(-3, 4, (rows, neurons)).astype(np.int8) * kept
    if kind == "reals":
        return r.standard_normal((rows, neurons)) * kept
    return 10.0 ** r.uniform(-30, 30, (rows, neurons)) * r.choice([-1, 1], (rows, neurons)) * kept


@st.composite
def weights(draw, rows):
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decades = draw(st.sampled_from([0, 1, 15, 300]))
    g = 10.0 ** r.uniform(-decades, decades, rows)
    g[r.random(rows) < draw(st.sampled_from([0, 0, 0.3, 1]))] = 0
    dtype = draw(st.sampled_from([*REALS, *INTEGERS, "float16", "bool", "longdouble"]))
    if rows and draw(st.integers(0, 5)) == 5:
        odd = [np.nan, np.inf, -np.inf, -1.0, -0.0, 5e-324, 1.7e308, -1e-300]
        g[draw(st.integers(0, rows - 1))] = draw(st.sampled_from(odd))
        dtype = draw(st.sampled_from(REALS))
    with np.errstate(all="ignore"):
        return (np.clip(g, 0, 100) if dtype in (*INTEGERS, "bool") else g).astype(dtype)


def broken(draw, B):
    """A CSC matrix whose arrays were changed behind SciPy's back."""
    dtype = draw(st.sampled_from([*INTEGERS, *REALS]))
    with np.errstate(all="ignore"):
        B = sp.csc_array(B.astype(dtype))
    index = draw(st.sampled_from([np.int32, np.int64]))
    B.indptr, B.indices = B.indptr.astype(index), B.indices.astype(index)
    name = draw(st.sampled_from(["indptr", "indices", "data"]))
    array = getattr(B, name).copy()
    top = np.iinfo(index).max
    odd = st.sampled_from([-1, 0, 1, 2, 5, 1000, top, -top - 1, 2**20])
    change = draw(st.sampled_from(["value", "shorter", "longer", "swap"]))
    place = st.integers(0, max(0, len(array) - 1))
    if change == "shorter":
        array = array[: draw(place)]
    elif change == "longer":
        array = np.append(array, array[-1:])
    elif len(array) and change == "swap":
        a, b = draw(place), draw(place)
        array[[a, b]] = array[[b, a]]
    elif len(array):
        value = draw(odd)
        if name == "data" and array.dtype.kind == "f":
            value = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e31, 0.0, 1e300]))
        elif name == "data":
            value = value % 100
        with np.errstate(all="ignore"):
            array[draw(place)] = value
    setattr(B, name, array)
    return B


def as_stored(B):
    """What the arrays of a CSC matrix say, if they say anything; repeated entries add up."""
    dense = np.zeros(B.shape)
    for column, (begin, end) in enumerate(pairwise(B.indptr.tolist())):
        for row, value in zip(B.indices[begin:end], B.data[begin:end], strict=False):
            if 0 <= row < len(dense) and column < B.shape[1]:
                dense[row, column] += value
    return dense


FORMS = {
    "array": lambda B: B,
    "fortran": np.asfortranarray,
    "lists": np.ndarray.tolist,
    "strided": lambda B: np.repeat(B, 2, axis=0)[::2],
    "csc": sp.csc_array,
    "csr": sp.csr_matrix,
    "coo": sp.coo_array,
    "torch": lambda B: torch.from_numpy(np.ascontiguousarray(B)),
    "torch coo": lambda B: torch.from_numpy(np.ascontiguousarray(B)).to_sparse_coo(),
    "torch csc": lambda B: torch.from_numpy(np.ascontiguousarray(B)).to_sparse_csc(),
}
CONTAINERS = {
    "array": lambda g: g,
    "list": np.ndarray.tolist,
    "backwards": lambda g: g[::-1].copy()[::-1],
    "torch": lambda g: g if g.dtype == np.longdouble else torch.from_numpy(g.copy()),
}


@st.composite
def options(draw, neurons):
    chosen = {"method": draw(st.sampled_from(["auto", "cd", "newton"]))}
    odd = {
        "tol": [0, 1e-6, 1, np.inf, np.nan, -1, "1", None],
        "max_sweeps": [0, 1, 7, -1, 2**31, 1.5, np.int64(3), None],
        "threads": [1, 2, 8, 0, -1, None],
        "max_scale": [1, 1.5, 2, 1e300, np.inf, 0.5, np.nan, -1],
        "u0": [
            np.zeros(neurons),
            np.linspace(-1, 1, neurons),
            np.full(neurons, 500.0),
            np.full(neurons, 1e6),
            np.full(neurons, 2e6),
            np.full(neurons, np.nan),
            np.zeros(neurons + 1),
        ],
    }
    for name, values in odd.items():
        if draw(st.integers(0, 3)) == 3:
            chosen[name] = draw(st.sampled_from(values))
    return chosen


@settings(
    max_examples=EXAMPLES,
    deadline=10_000,  # ms
    derandomize=EXAMPLES == 300,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_solve_answers_or_refuses(data):
    dense = data.draw(matrices())
    g = data.draw(weights(len(dense)))
    chosen = data.draw(options(dense.shape[1]))
    if data.draw(st.integers(0, 3)) == 3:
        B = broken(data.draw, dense)
        dense = as_stored(B)
    else:
        form = data.draw(st.sampled_from(sorted(FORMS)))
        B = FORMS[form](dense)
    given_g = CONTAINERS[data.draw(st.sampled_from(sorted(CONTAINERS)))](g)
    try:
        result = pc.solve(B, given_g, **chosen)
    except pc.InvalidInputError as error:
        assert ": " in str(error)  # names the argument
        return
    u, kept = np.asarray(result.u), np.asarray(g, np.float64)
    assert np.isfinite(u).all()
    assert (kept >= 0).all()
    assert np.isfinite(kept).all()
    if result.rows == 0:
        return
    oracle = Oracle.of(np.asarray(dense, np.float64), kept)
    edge = 2 * np.log(chosen.get("max_scale", np.inf)) * (1 - 1e-12)
    gradient = oracle.gradient(u)
    held = (np.abs(u) >= edge) & (u * gradient <= 0)
    if result.converged and chosen["method"] != "cd":
        assert np.abs(gradient[~held]).max(initial=0) <= 1e-8 + float(chosen.get("tol") or 0)
    start = np.asarray(chosen.get("u0", np.zeros(len(u))), np.float64)
    before, after = oracle.objective(start), oracle.objective(u)
    exponents = np.abs(oracle.B) @ np.maximum(np.abs(start), np.abs(u))
    size = 100 + exponents.max() + abs(before) / oracle.rows
    assert after - before <= 1e-13 * oracle.rows * size


def test_sound_problems_are_not_refused():
    r = np.random.default_rng(0)
    for _ in range(200):
        rows, neurons = r.integers(1, 25), r.integers(0, 7)
        B = r.integers(-3, 4, (rows, neurons))
        form = FORMS[r.choice(sorted(FORMS))]
        result = pc.solve(form(B), 10.0 ** r.uniform(-200, 200, rows))
        assert np.isfinite(np.asarray(result.u)).all()
