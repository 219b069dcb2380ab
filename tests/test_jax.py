"""Arrays and sparse matrices of JAX: in, and back in kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse
from problems import layered, mild
from test_errors import B as SMALL_B
from test_errors import G as SMALL_G
from test_errors import rejected
from test_inputs import pair
from tolerances import OPTIMUM

import pathcond_native as pc
from pathcond_native.arrays import read_weights


@pytest.fixture(scope="module")
def problem():
    r = np.random.default_rng(0)
    incidence = layered(r)
    return incidence.B, mild(r, incidence.layer).astype(np.float32)


@pytest.fixture(scope="module")
def expected(problem):
    return pc.solve(*problem)


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def wide(request):
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


def test_results_in_kind(problem, expected, wide):
    g = jnp.asarray(problem[1])
    result = pc.solve(problem[0], g)
    for name in ("u", "v", "scales", "parameter_scales"):
        found = getattr(result, name)
        assert isinstance(found, jax.Array)
        # Without x64, float64 rounded by itself, once: scales are not those of a rounded u.
        exact = getattr(expected, name).astype(np.float64 if wide else np.float32)
        np.testing.assert_array_equal(np.asarray(found), exact, strict=True)
    assert result.frozen.dtype == jnp.bool
    assert result.gradient_norm == expected.gradient_norm <= 1e-12


def test_results_stay_where_g_was_put(problem):
    device = jax.devices()[0]
    for g in (jnp.asarray(problem[1]), jax.device_put(problem[1], device)):
        u = pc.solve(problem[0], g).u
        assert u.devices() == g.devices() and u.committed == g.committed


def test_read_without_a_copy():
    g = jnp.arange(1.0, 100.0)
    read, _ = read_weights(g)
    assert read.ctypes.data == g.unsafe_buffer_pointer()


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float8_e4m3fn", "int32", "uint8", "bool"]
)
def test_types_of_g(problem, dtype):
    g = jnp.asarray(np.clip(np.round(8 * problem[1]), 1, 100)).astype(dtype)
    exact = np.asarray(g).astype(np.float32)
    expected = pc.solve(problem[0], exact)
    np.testing.assert_allclose(pc.solve(problem[0], g).u, expected.u, rtol=1e-6, atol=1e-6)
    alike = pc.solve(problem[0], np.asarray(g))  # NumPy has these as ml_dtypes
    assert isinstance(alike.u, np.ndarray)
    np.testing.assert_allclose(alike.u, expected.u, rtol=0, atol=OPTIMUM)


def formats(B, dtype):
    """B in every format, made in NumPy, for which JAX needs not compile anything."""
    coo = B.tocoo()
    data, indices = coo.data.astype(dtype), np.stack(coo.coords, 1)
    order = np.random.default_rng(0).permutation(len(data))
    padding = np.tile(B.shape, (7, 1))
    parts = {
        "unsorted": (data[order], indices[order]),
        "repeated": (np.concatenate([2 * data, -data]), np.tile(indices, (2, 1))),
        "padded": (np.append(data, np.ones(7, data.dtype)), np.concatenate([indices, padding])),
    }
    csr = B.tocsr()
    parts["compressed"] = (csr.data.astype(dtype), csr.indices, csr.indptr)
    yield jnp.asarray(B.toarray().astype(dtype))
    for arrays in parts.values():
        kind = sparse.BCSR if len(arrays) == 3 else sparse.BCOO
        yield kind(tuple(map(jnp.asarray, arrays)), shape=B.shape)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int32"])
def test_matrices(problem, expected, dtype):
    B, g = problem
    for same in formats(B, jnp.dtype(dtype)):
        result = pc.solve(same, g)
        assert isinstance(result.u, np.ndarray)
        np.testing.assert_array_equal(result.u, expected.u)


def test_padding_as_jax_makes_it():
    expected = pc.solve(SMALL_B, SMALL_G)
    padded = sparse.BCOO.fromdense(jnp.asarray(SMALL_B, "float32"), nse=9)
    assert len(padded.data) == 9
    for same in (padded, sparse.BCSR.from_bcoo(padded)):
        np.testing.assert_array_equal(pc.solve(same, SMALL_G).u, expected.u)


def test_index_lists_and_starting_point(problem, expected):
    B, g = problem
    lists = tuple([jnp.asarray(part) for part in side] for side in pair(B))
    np.testing.assert_array_equal(pc.solve(lists, g).u, expected.u)
    u0 = np.arange(B.shape[1]) % 5 - 2.0
    start = pc.solve(B, g, u0=jnp.asarray(u0), method="cd").u
    np.testing.assert_array_equal(start, pc.solve(B, g, u0=u0, method="cd").u)


ROW, COLUMN = np.nonzero(SMALL_B)
VALUES = SMALL_B[ROW, COLUMN].astype(np.float32)


def coo(data=VALUES, indices=(ROW, COLUMN), shape=SMALL_B.shape):
    return sparse.BCOO((jnp.asarray(data), jnp.stack(indices, -1)), shape=shape)


def csr(data=VALUES, indices=COLUMN, indptr=(0, 1, 3, 4, 4)):
    parts = (jnp.asarray(x) for x in (data, indices, indptr))
    return sparse.BCSR(tuple(parts), shape=SMALL_B.shape)


def shortened(matrix):
    matrix.data = matrix.data[:3]
    return matrix


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: sparse.CSR((VALUES, COLUMN, np.arange(5)), shape=SMALL_B.shape), "got CSR"),
        (lambda: coo(indices=(ROW, COLUMN, COLUMN), shape=(4, 2, 2)), "dense dimensions"),
        (lambda: coo(data=np.ones((4, 2)), indices=(ROW,)), "dense dimensions"),
        (lambda: coo(np.ones((4, 1)), np.zeros((1, 4, 1), int)), "batch"),
        (lambda: coo(VALUES + 0j), "complex64"),
        (lambda: coo(np.nan * VALUES), "finite"),
        (lambda: coo(indices=(ROW, COLUMN - 1)), "column indices"),
        (lambda: coo(indices=(ROW + 4, COLUMN)), "row indices"),
        (lambda: shortened(coo()), "as many indices"),
        (lambda: shortened(csr()), "as many indices"),
        (lambda: csr(indptr=(0, 3, 1, 4, 4)), "indptr"),
        (lambda: csr(indptr=(0, 1, 3, 4, 5)), "indptr"),
        (lambda: csr(indices=COLUMN + 1), "column indices"),
    ],
)
def test_unusable_matrices(bad, message):
    assert message in rejected("B", bad(), SMALL_G)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: jnp.ones(3),
        lambda: jnp.ones((4, 1)),
        lambda: jnp.float32(1),
        lambda: jnp.ones(4, "complex64"),
        lambda: -jnp.ones(4),
        lambda: jax.random.key(0),
        lambda: coo(),
        lambda: deleted(jnp.ones(4)),
    ],
)
def test_unusable_arrays(bad):
    rejected("g", SMALL_B, bad())


def deleted(array):
    array.delete()
    return array


def test_traced_values_are_refused_with_the_remedy():
    G = jnp.asarray(SMALL_G)
    B = coo()
    seen = []

    def inside(g):
        for argument, args, options in (
            ("g", (SMALL_B, g), {}),
            ("g", (SMALL_B, list(g)), {}),
            ("B", (jnp.stack([g, g], 1), SMALL_G), {}),
            ("B", (sparse.BCOO((g, B.indices), shape=B.shape), SMALL_G), {}),
            ("u0", (SMALL_B, SMALL_G), {"u0": g[:2]}),
        ):
            assert "jax.pure_callback" in rejected(argument, *args, **options)
            seen.append(argument)
        return g.sum()

    for transform in (jax.jit, jax.grad, lambda f: jax.vmap(f, in_axes=0)):
        transform(inside)(G if transform in (jax.jit, jax.grad) else G[None])
    assert len(seen) == 15


def test_by_callback_in_jitted_code(problem, expected):
    B, g = problem

    def solved(g):
        return pc.solve(B, np.asarray(g)).u.astype(np.float32)

    @jax.jit
    def scales(g):
        u = jax.pure_callback(solved, jax.ShapeDtypeStruct((B.shape[1],), jnp.float32), g)
        return jnp.exp(u / 2)

    np.testing.assert_allclose(scales(jnp.asarray(g)), expected.scales, rtol=1e-5)
