"""Every kind of B and g that can be handed in gives the same result and is left as it was."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import layered, long_rows, mild, real_values
from tolerances import ITERATE, OPTIMUM

import pathcond_native as pc

pytestmark = [
    # About how the tests build their inputs, not about what the package does with them.
    pytest.mark.filterwarnings("ignore:Constructing a DIA matrix"),
    pytest.mark.filterwarnings("ignore:the matrix subclass is not the recommended way"),
]

FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
KINDS = ("array", "matrix")


@pytest.fixture(scope="module")
def problem():
    r = np.random.default_rng(0)
    incidence = layered(r)
    return incidence.B, mild(r, incidence.layer)


@pytest.fixture(scope="module")
def expected(problem):
    return pc.solve(*problem).u


def sparse(B, kind, form):
    return getattr(sp, f"csc_{kind}")(B).asformat(form)


def snapshot(B, g):
    """All that belongs to a SciPy matrix and a NumPy array, as bytes."""
    names = ("indptr", "indices", "data", "row", "col", "offsets")
    parts = [getattr(B, name) for name in names if isinstance(getattr(B, name, None), np.ndarray)]
    return [(part.dtype, part.tobytes()) for part in [*parts, g]]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_scipy_formats(problem, expected, kind, form):
    B, g = sparse(problem[0], kind, form), problem[1].copy()
    before = snapshot(B, g)
    np.testing.assert_array_equal(pc.solve(B, g).u, expected)
    assert snapshot(B, g) == before
    assert B.format == form


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "float32", "float64", "longdouble"]
)
def test_value_types(problem, expected, dtype, form):
    B = problem[0].astype(dtype).asformat(form)
    np.testing.assert_array_equal(pc.solve(B, problem[1]).u, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "bool"])
def test_value_types_without_a_sign(dtype):
    B = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    g = [3.0, 1.0, 2.0, 5.0]
    expected = pc.solve(B, g).u
    for same in (B.astype(dtype), sp.csc_array(B.astype(dtype)), sp.csr_matrix(B.astype(dtype))):
        np.testing.assert_array_equal(pc.solve(same, g).u, expected)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_integers_other_than_one(dtype):
    r = np.random.default_rng(1)
    B = r.integers(-3, 4, (40, 5)).astype(dtype)
    g = r.random(40)
    expected = pc.solve(B.astype(np.float64), g).u
    for same in (B, sp.csc_array(B)):
        np.testing.assert_array_equal(pc.solve(same, g).u, expected)


@pytest.mark.parametrize("indptr", [np.int32, np.int64])
@pytest.mark.parametrize("indices", [np.int32, np.int64])
def test_index_types(problem, expected, indptr, indices):
    B = problem[0].copy()
    B.indptr, B.indices = B.indptr.astype(indptr), B.indices.astype(indices)
    before = snapshot(B, problem[1])
    np.testing.assert_array_equal(pc.solve(B, problem[1]).u, expected)
    assert snapshot(B, problem[1]) == before


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64"])
def test_unsorted_indices(problem, expected, dtype):
    r = np.random.default_rng(2)
    B = problem[0].astype(dtype)
    for begin, end in zip(B.indptr[:-1], B.indptr[1:], strict=True):
        order = begin + r.permutation(end - begin)
        B.indices[begin:end], B.data[begin:end] = B.indices[order], B.data[order]
    B.has_sorted_indices = False
    before = snapshot(B, problem[1])
    np.testing.assert_allclose(pc.solve(B, problem[1]).u, expected, rtol=0, atol=OPTIMUM)
    assert snapshot(B, problem[1]) == before


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64"])
def test_repeated_entries_add_up(problem, expected, dtype):
    # Every entry s is stored as 3 s, -s, -s, apart from each other.
    B = problem[0].tocoo()
    row, column = np.tile(B.coords[0], 3), np.tile(B.coords[1], 3)
    values = np.concatenate([3 * B.data, -B.data, -B.data]).astype(dtype)
    order = np.lexsort((np.random.default_rng(3).random(len(row)), column))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(column))])
    repeated = sp.csc_array((values[order], row[order], indptr), B.shape)
    before = snapshot(repeated, problem[1])
    result = pc.solve(repeated, problem[1])
    np.testing.assert_allclose(result.u, expected, rtol=0, atol=OPTIMUM)
    np.testing.assert_allclose(result.v, problem[0] @ result.u, rtol=0, atol=OPTIMUM)
    assert snapshot(repeated, problem[1]) == before


def test_repeated_small_integers_do_not_wrap():
    # 127 + 127 + 127 does not fit into int8.
    one = np.full(3, 127, np.int8)
    indptr, indices = np.array([0, 4]), np.array([0, 0, 0, 1])
    B = sp.csc_array((np.append(one, np.int8(-127)), indices, indptr), (2, 1))
    whole = np.array([[381.0], [-127.0]])
    np.testing.assert_array_equal(pc.solve(B, [1.0, 2.0]).u, pc.solve(whole, [1.0, 2.0]).u)


def test_entries_that_cancel_are_no_entries():
    B = sp.csc_array((np.array([1, -1, 1, -1]), np.array([0, 0, 1, 2]), np.array([0, 4])), (3, 1))
    expected = pc.solve([[0], [1], [-1]], [5.0, 1.0, 2.0])
    result = pc.solve(B, [5.0, 1.0, 2.0])
    np.testing.assert_allclose(result.u, expected.u, rtol=0, atol=1e-13)
    assert pc.solve(B, [5.0, 0.0, 0.0]).frozen.all()


@pytest.mark.parametrize("dtype", ["int8", "float64"])
def test_explicit_zeros(problem, expected, dtype):
    B = problem[0].astype(dtype).tocoo()
    r = np.random.default_rng(4)
    row = np.concatenate([B.coords[0], r.integers(0, B.shape[0], 500)])
    column = np.concatenate([B.coords[1], r.integers(0, B.shape[1], 500)])
    values = np.concatenate([B.data, np.zeros(500, dtype)])
    padded = sp.coo_array((values, (row, column)), B.shape).tocsc()
    assert (padded.data == 0).any()
    for method in ("auto", "cd", "newton"):
        plain = pc.solve(problem[0], problem[1], method=method).u
        found = pc.solve(padded, problem[1], method=method).u
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-11)


def test_stored_arrays_longer_than_needed(problem, expected):
    B = problem[0].copy()
    B.indices = np.concatenate([B.indices, np.full(7, 10**6, B.indices.dtype)])
    B.data = np.concatenate([B.data, np.full(7, 99, B.data.dtype)])
    np.testing.assert_array_equal(pc.solve(B, problem[1]).u, expected)


def test_dense_arrays(problem, expected):
    dense = problem[0].toarray()
    wide = np.zeros((2 * dense.shape[0], 3 * dense.shape[1]), np.int8)
    wide[::2, ::3] = dense
    read_only = dense.copy()
    read_only.flags.writeable = False
    for same in (
        np.asfortranarray(dense),
        wide[::2, ::3],
        read_only,
        dense.tolist(),
        tuple(map(tuple, dense.tolist())),
        np.asmatrix(dense),
        dense.astype(">f8"),
    ):
        np.testing.assert_array_equal(pc.solve(same, problem[1]).u, expected)
    assert (wide[1::2] == 0).all()


@pytest.mark.parametrize("shape", [(2, 2), (2, 1), (1, 2), (2, 3)])
def test_nested_lists_of_two_rows_are_matrices(shape):
    r = np.random.default_rng(5)
    B = r.choice([-1, 1], shape)
    g = r.random(shape[0]) + 0.5
    expected = pc.solve(B, g, method="cd")
    for same in (B.tolist(), tuple(map(tuple, B.tolist())), [B[0], *B[1:]]):
        result = pc.solve(same, g, method="cd")
        np.testing.assert_array_equal(result.u, expected.u)


def pair(B):
    columns = [slice(*ends) for ends in zip(B.indptr[:-1], B.indptr[1:], strict=True)]
    leaving = [B.indices[c][B.data[c] > 0] for c in columns]
    entering = [B.indices[c][B.data[c] < 0] for c in columns]
    return leaving, entering


@pytest.mark.parametrize(
    "convert",
    [
        np.copy,
        np.ndarray.tolist,
        lambda part: tuple(part.tolist()),
        lambda part: part.astype(np.uint16),
        lambda part: part[::-1],
    ],
)
def test_pair_of_index_lists(problem, expected, convert):
    leaving, entering = ([convert(part) for part in side] for side in pair(problem[0]))
    for same in ((leaving, entering), [leaving, entering], (tuple(leaving), tuple(entering))):
        np.testing.assert_array_equal(pc.solve(same, problem[1]).u, expected)


def test_pair_with_empty_lists():
    expected = pc.solve([[1, 0], [0, -1], [0, 0]], [1.0, 2.0, 3.0])
    result = pc.solve(([[0], []], [[], [1]]), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(result.u, expected.u)
    assert pc.solve(([[], []], [[], []]), [1.0, 2.0, 3.0]).frozen.all()
    assert pc.solve(([], []), [1.0, 2.0, 3.0]).u.shape == (0,)


def test_pair_of_loops_is_empty():
    # A row that leaves and enters one neuron carries no scale.
    with pytest.raises(pc.InvalidInputError, match="B: row 0"):
        pc.solve(([[0]], [[0]]), [1.0])


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int64", "int8", "uint8", "bool"]
)
def test_types_of_g(problem, dtype):
    g = np.clip(np.round(8 * problem[1]), 1, 100).astype(dtype)
    expected = pc.solve(problem[0], g.astype(np.float64)).u
    before = g.copy()
    result = pc.solve(problem[0], g)
    np.testing.assert_allclose(result.u, expected, rtol=0, atol=ITERATE)
    assert result.u.dtype == np.float64
    np.testing.assert_array_equal(g, before)


def test_containers_of_g(problem, expected):
    g = problem[1]
    wide = np.zeros((len(g), 3))
    wide[:, 1] = g
    read_only = g.copy()
    read_only.flags.writeable = False
    backwards = g[::-1].copy()[::-1]
    for same in (g.tolist(), tuple(g.tolist()), wide[:, 1], read_only, backwards, g.astype(">f8")):
        result = pc.solve(problem[0], same)
        assert isinstance(result.u, np.ndarray)
        np.testing.assert_array_equal(result.u, expected)
    assert wide.sum() == pytest.approx(g.sum())


@pytest.mark.parametrize("convert", [np.asarray, list, tuple, np.float32])
def test_starting_point_in_any_container(problem, convert):
    B, g = problem
    u0 = np.arange(B.shape[1]) % 5 - 2.0
    expected = pc.solve(B, g, u0=u0, method="cd").u
    given = convert(u0)
    result = pc.solve(B, g, u0=given, method="cd")
    np.testing.assert_array_equal(result.u, expected)
    np.testing.assert_array_equal(np.asarray(given), u0)


def test_starting_point_is_not_the_result(problem):
    B, g = problem
    u0 = np.zeros(B.shape[1])
    result = pc.solve(B, g, u0=u0, max_sweeps=0)
    result.u[:] = 7
    assert not u0.any()


@pytest.mark.parametrize("incidence", [long_rows, real_values])
def test_general_matrices_in_every_format(incidence):
    r = np.random.default_rng(6)
    B = incidence(r).B
    g = mild(r, np.zeros(B.shape[0], int))
    expected = pc.solve(B, g).u
    dense = B.toarray()
    for same in (*map(B.asformat, FORMATS), dense):
        np.testing.assert_array_equal(pc.solve(same, g).u, expected)
