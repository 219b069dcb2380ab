"""Unusable arguments raise InvalidInputError, which names the argument; nothing crashes."""

import json
import subprocess
import sys

import corrupted_matrices
import numpy as np
import pytest
import scipy.sparse as sp

import pathcond_native as pc

B = np.array([[1, 0], [-1, 1], [0, -1], [0, 0]])
G = np.array([1.0, 2.0, 3.0, 4.0])


def rejected(argument, *args, **options):
    with pytest.raises(pc.InvalidInputError, match=rf"^{argument}: ") as caught:
        pc.solve(*args, **options)
    return str(caught.value)


def test_error_is_a_value_error_of_the_package():
    assert issubclass(pc.InvalidInputError, ValueError)
    assert issubclass(pc.InvalidInputError, pc.PathcondError)


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("bad", [-1.0, -1e-300, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 3])
def test_values_of_g(bad, at, method):
    for dtype in (np.float32, np.float64):
        g = G.astype(dtype)
        g[at] = bad
        if g[at] == 0:
            continue  # -1e-300 is -0 in float32
        assert f"g[{at}]" in rejected("g", B, g, method=method)


@pytest.mark.parametrize(
    "bad",
    [
        G[:3],
        np.append(G, 1.0),
        [],
        G[:, None],
        G[None],
        np.float64(1.0),
        1.0,
        None,
        "abcd",
        ["1", "2", "3", "4"],
        G + 0j,
        G.astype(object),
        [1.0, None, 2.0, 3.0],
        [[1.0], [2.0, 3.0], [4.0], [5.0]],
        np.array(["2020"] * 4, "M8[Y]"),
        np.zeros(4, [("x", float)]),
        {0: 1.0},
        object(),
        sp.csc_array(G[:, None]),
        B,
    ],
    ids=repr,
)
def test_kinds_of_g(bad):
    rejected("g", B, bad)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        3.0,
        "matrix",
        object(),
        G,
        np.zeros((4, 2, 1)),
        np.zeros((1, 4, 2)),
        B + 0j,
        B.astype(object),
        B.astype(str),
        [[1, 0], [1], [0, 1], [0, 0]],
        [["1"], ["0"], ["0"], ["0"]],
        {0: [1]},
        np.where(B == 0, np.nan, B),
        np.where(B > 0, np.inf, B),
        np.where(B > 0, -np.inf, B).astype(np.float32),
        sp.csc_array(np.where(B > 0, np.nan, B)),
        sp.csr_array(np.where(B > 0, np.inf, B)),
        sp.csc_array(B + 0j),
        sp.coo_array(G),
    ],
    ids=repr,
)
def test_kinds_of_b(bad):
    rejected("B", bad, G)


@pytest.mark.parametrize("shape", [(3, 2), (5, 2), (2, 4), (0, 2)])
@pytest.mark.parametrize("convert", [np.asarray, sp.csc_array, sp.coo_matrix])
def test_numbers_of_rows_differ(shape, convert):
    message = rejected("g", convert(np.zeros(shape)), G)
    assert str(shape[0]) in message
    assert "4" in message


@pytest.mark.parametrize(
    "bad",
    [
        ([[0]], []),
        ([[0], [1]], [[1]]),
        ([[0]], [[4]]),
        ([[4]], [[]]),
        ([[-1]], [[]]),
        ([[2**40]], [[]]),
        ([[0, 0]], [[]]),
        ([[]], [[1, 2, 1]]),
        ([[0]], [[0]]),
        ([[0.5]], [[]]),
        ([[0.0]], [[]]),
        ([["0"]], [[]]),
        ([[None]], [[]]),
        ([[[0]]], [[]]),
        ([[True]], [[]]),
        ([[0, [1]]], [[]]),
        ([None], [[]]),
    ],
    ids=repr,
)
def test_malformed_pairs(bad):
    rejected("B", bad, G)


def test_pair_says_where():
    assert "leaving[1]" in rejected("B", ([[0], [9]], [[], []]), G)
    assert "entering[0]" in rejected("B", ([[0], [1]], [[-7], []]), G)
    assert "row 2" in rejected("B", ([[], [2, 2]], [[], []]), G)


@pytest.fixture(scope="module")
def verdicts():
    """What became of every corrupted matrix, each in a process of its own."""
    done = subprocess.run(
        [sys.executable, corrupted_matrices.__file__], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", ["auto", "cd", "newton"])
@pytest.mark.parametrize("case", corrupted_matrices.CASES)
def test_corrupted_matrices(verdicts, case, method):
    assert verdicts[f"{case}, {method}"].startswith("InvalidInputError: B: ")


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        ("method", "sgd"),
        ("method", ""),
        ("method", "AUTO"),
        ("method", None),
        ("method", 1),
        ("tol", -1e-3),
        ("tol", np.nan),
        ("tol", "small"),
        ("tol", [1e-3]),
        ("tol", 1j),
        ("max_sweeps", -1),
        ("max_sweeps", 1.5),
        ("max_sweeps", 10.0),
        ("max_sweeps", "10"),
        ("max_sweeps", 2**70),
        ("threads", 0),
        ("threads", -2),
        ("threads", 1.0),
        ("threads", "all"),
        ("threads", 2**40),
        ("u0", [0.0]),
        ("u0", [0.0, 0.0, 0.0]),
        ("u0", []),
        ("u0", 0.0),
        ("u0", [[0.0, 0.0]]),
        ("u0", [0.0, np.nan]),
        ("u0", [np.inf, 0.0]),
        ("u0", [0j, 0j]),
        ("u0", ["0", "0"]),
        ("u0", [None, 1.0]),
        ("callback", 3),
        ("callback", "print"),
        ("callback", [print]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("g", [G, np.zeros(4)], ids=["weights", "zeros"])
def test_options(argument, bad, g):
    options = {argument: bad}
    rejected(argument, B, g, **options)


def test_options_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        pc.solve(B, G, "auto")
    with pytest.raises(TypeError, match="tolerance"):
        pc.solve(B, G, tolerance=1e-3)


def test_infinite_tolerance_accepts_the_start():
    assert pc.solve(B, G, tol=np.inf).sweeps == 0


def test_numpy_scalars_as_options():
    result = pc.solve(
        B, G, tol=np.float32(1e-3), max_sweeps=np.int64(5), threads=np.uint8(1), method="cd"
    )
    assert result.sweeps <= 5
