"""The C interface, called through ctypes: the same answers as the Python one, and every refusal."""

import ctypes
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from c_interface import (
    AUTO,
    CD,
    INTERRUPTED,
    INVALID_INPUT,
    MAX_SWEEPS,
    NEWTON,
    NOT_CANONICAL,
    OK,
    STOPPED_BY_CALLBACK,
    Callback,
    LaterOptions,
    Library,
    Poll,
    Problem,
    Solution,
)
from problems import network, reference

import pathcond_native

METHODS = {"auto": AUTO, "cd": CD, "newton": NEWTON}


@pytest.fixture(scope="session")
def c(libraries):
    return Library(libraries["shared"].prefix / "lib" / "libpathcond.so")


@pytest.fixture
def problem():
    B, data = reference("mlp_20_32_16_24_5")
    return B.astype(np.int8), data["g"]


def solved(c, B, g, options=None):
    solution = Solution.of(B.shape[1])
    result = c.solve(Problem.of(B, g), options, solution)
    assert result == OK, solution.message
    return solution


def test_version_is_the_packages(c):
    assert c.version() == pathcond_native.__version__


@pytest.mark.parametrize(
    ("index", "value", "weight"),
    list(
        itertools.product(
            ("int32", "int64"),
            ("int8", "int32", "int64", "float32", "float64"),
            ("float32", "float64"),
        )
    ),
)
def test_every_type(c, problem, index, value, weight):
    B, g = problem
    B = B.astype(value)
    B.indptr, B.indices = B.indptr.astype(index), B.indices.astype(index)
    g = g.astype(weight)
    expected = pathcond_native.solve(B, g, threads=1)
    found = solved(c, B, g)
    np.testing.assert_allclose(found.arrays[0], expected.u, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found.arrays[1], expected.frozen)
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-13)
    np.testing.assert_allclose(found.initial_objective, expected.initial_objective, rtol=1e-13)
    assert found.gradient_norm <= 1e-12
    assert (found.rows, found.merged_rows) == (expected.rows, expected.merged_rows)
    assert found.message == b""


@pytest.mark.parametrize("method", METHODS)
def test_options(c, problem, method):
    B, g = problem
    u0 = np.linspace(-0.5, 0.5, B.shape[1])
    expected = pathcond_native.solve(B, g, method=method, tol=0, max_sweeps=2, max_scale=2, u0=u0)
    options = c.options(
        method=METHODS[method],
        tolerance=0,
        max_sweeps=2,
        max_scale=2,
        threads=2,
        u0=u0.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
    )
    found = solved(c, B, g, options)
    np.testing.assert_allclose(found.arrays[0], expected.u, rtol=1e-9, atol=1e-9)
    assert (found.sweeps, found.status) == (2, MAX_SWEEPS)


def test_frozen_neurons_keep_u0_and_it_may_be_where_u_is(c, problem):
    B, g = problem
    g = g.copy()
    g[B.indices[B.indptr[3] : B.indptr[4]]] = 0
    solution = Solution.of(B.shape[1])
    solution.arrays[0][:] = 0.25
    assert c.solve(Problem.of(B, g), c.options(u0=solution.u), solution) == OK
    expected = pathcond_native.solve(B, g, u0=np.full(B.shape[1], 0.25))
    np.testing.assert_allclose(solution.arrays[0], expected.u, rtol=1e-10, atol=1e-10)
    assert solution.arrays[0][3] == 0.25
    assert solution.arrays[1].nonzero()[0].tolist() == [3]


def test_callback_sees_every_sweep_and_stops(c, problem):
    seen = []

    @Callback
    def callback(sweep, objective, gradient_norm, user_data):
        seen.append((sweep, objective, gradient_norm, user_data))
        return sweep == 3

    found = solved(c, *problem, c.options(method=CD, callback=callback, user_data=1234))
    expected = []
    pathcond_native.solve(
        *problem, method="cd", callback=lambda *step: expected.append(step) or step[0] == 3
    )
    assert found.status == STOPPED_BY_CALLBACK
    assert [step[3] for step in seen] == [1234] * 3
    np.testing.assert_allclose([step[:3] for step in seen], expected, rtol=1e-9)


def test_poll_interrupts(c, problem):
    calls = []

    @Poll
    def poll(user_data):
        calls.append(user_data)
        return len(calls) == 3

    solution = Solution.of(problem[0].shape[1])
    endless = c.options(method=CD, tolerance=0, max_sweeps=10**6, poll=poll, user_data=5)
    assert c.solve(Problem.of(*problem), endless, solution) == INTERRUPTED
    assert calls == [5] * 3
    assert np.isnan(solution.arrays[0]).all()


# What is changed, and what the message says.
BAD_PROBLEMS = {
    "too small": ({"size": 8}, "problem: expected size"),
    "never set": ({"size": 2**60}, "problem: expected size"),
    "negative rows": ({"rows": -1}, "negative"),
    "negative columns": ({"columns": -1}, "negative"),
    "negative entries": ({"entries": -1}, "entries are stored"),
    "too few entries": ({"entries": 5}, "only 5 entries are stored"),
    "other indices": ({"index_type": 1}, "index_type"),
    "other values": ({"value_type": 0}, "value_type"),
    "other weights": ({"weight_type": 3}, "weight_type"),
    "no indptr": ({"indptr": None}, "indptr: expected an address"),
    "no indices": ({"indices": None}, "indices: expected an address"),
    "no values": ({"values": None}, "values: expected an address"),
    "no g": ({"g": None}, "g: expected an address"),
}
BAD_OPTIONS = {
    "too small": ({"size": 8}, "options: expected size"),
    "method": ({"method": 3}, "method"),
    "threads": ({"threads": 0}, "threads"),
    "tolerance": ({"tolerance": np.nan}, "tol"),
    "max_scale": ({"max_scale": 0.5}, "max_scale"),
}


def refused(c, problem, options, neurons):
    """The message; nothing else is written."""
    solution = Solution.of(neurons)
    assert c.solve(problem, options, solution) == INVALID_INPUT
    assert np.isnan(solution.arrays[0]).all()
    assert (solution.arrays[1] == 77).all()
    return solution.message.decode()


@pytest.mark.parametrize("name", BAD_PROBLEMS)
def test_bad_problem(c, problem, name):
    fields, message = BAD_PROBLEMS[name]
    bad = Problem.of(*problem)
    for field, value in fields.items():
        setattr(bad, field, value)
    assert message in refused(c, bad, None, problem[0].shape[1])


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(c, problem, name):
    fields, message = BAD_OPTIONS[name]
    assert message in refused(c, Problem.of(*problem), c.options(**fields), problem[0].shape[1])


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_bad_weight(c, problem, value):
    B, g = problem
    g = g.copy()
    g[7] = value
    assert "g[7]" in refused(c, Problem.of(B, g), None, B.shape[1])


def test_null(c, problem):
    neurons = problem[0].shape[1]
    assert "problem: expected an address" in refused(c, None, None, neurons)
    nowhere = Solution.of(neurons)
    nowhere.u = None
    assert c.solve(Problem.of(*problem), None, nowhere) == INVALID_INPUT
    assert b"u: expected an address" in nowhere.message
    assert c.solve(Problem.of(*problem), None, None) == INVALID_INPUT
    assert c.solve(Problem.of(*problem), None, Solution()) == INVALID_INPUT


def test_not_canonical(c, problem):
    B, g = problem
    B.indices[:2] = B.indices[1::-1].copy()
    solution = Solution.of(B.shape[1])
    assert c.solve(Problem.of(B, g), None, solution) == NOT_CANONICAL
    assert b"unsorted" in solution.message


def test_no_neurons(c):
    B = network([3, 2]).B
    found = solved(c, B, np.arange(1.0, 1 + B.shape[0]))
    assert found.status == OK
    assert found.rows == B.shape[0]


def test_fields_of_a_later_version(c, problem):
    options = LaterOptions()
    c._init(options, ctypes.sizeof(options))
    assert (options.size, options.new) == (ctypes.sizeof(options), 0)
    assert solved(c, *problem, options).sweeps > 0
    options.new = 1
    message = refused(c, Problem.of(*problem), options, problem[0].shape[1])
    assert "does not know" in message


def test_a_failed_call_says_why_and_the_next_one_clears_it(c, problem):
    solution = Solution.of(problem[0].shape[1])
    assert c.solve(None, None, solution) == INVALID_INPUT
    assert solution.message
    assert c.solve(Problem.of(*problem), None, solution) == OK
    assert solution.message == b""


def test_threads_of_the_caller(c):
    def alone(seed):
        B = network([10, 30, 20, 4]).B
        g = np.random.default_rng(seed).lognormal(0, 2, B.shape[0])
        return solved(c, B, g, c.options(threads=2)).arrays[0], pathcond_native.solve(B, g).u

    with ThreadPoolExecutor(8) as pool:
        for found, expected in pool.map(alone, range(40)):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
