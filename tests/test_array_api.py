"""Arrays of the array API standard, and objects that speak DLPack only: in, and back in kind."""

import array_api_strict as xp
import numpy as np
import pytest
from problems import layered, mild
from test_errors import B as SMALL_B
from test_errors import G as SMALL_G
from test_errors import rejected
from test_inputs import pair

import pathcond_native as pc
from pathcond_native.arrays import read_weights

INFO = xp.__array_namespace_info__()


class Capsule:
    """An array of which nothing is known but that it can be handed on."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.fixture(scope="module")
def problem():
    r = np.random.default_rng(0)
    incidence = layered(r)
    return incidence.B, mild(r, incidence.layer).astype(np.float32)


@pytest.fixture(scope="module")
def expected(problem):
    return pc.solve(*problem)


@pytest.mark.parametrize("device", INFO.devices(), ids=repr)
def test_results_in_kind_and_on_the_device(problem, expected, device):
    g = xp.asarray(problem[1], device=device)
    result = pc.solve(problem[0], g)
    best = "float64" if "float64" in INFO.dtypes(device=device) else "float32"
    for name in ("u", "v", "scales", "parameter_scales"):
        found = getattr(result, name)
        assert type(found) is type(g) and found.device == g.device
        assert found.dtype == getattr(xp, best)
        # Each is rounded by itself, once.
        seen = np.from_dlpack(found, device="cpu")
        np.testing.assert_array_equal(seen, getattr(expected, name).astype(best))
    assert result.frozen.dtype == xp.bool and result.frozen.device == g.device
    assert result.objective == expected.objective


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "int64", "uint8", "bool"])
def test_types_of_g(problem, convert, dtype):
    g = np.clip(np.round(8 * problem[1]), 1, 100).astype(dtype)
    before = g.copy()
    result = pc.solve(problem[0], convert(g))
    np.testing.assert_array_equal(np.asarray(result.u), pc.solve(problem[0], g).u)
    np.testing.assert_array_equal(g, before)


def test_dlpack_alone_gives_numpy(problem, expected):
    result = pc.solve(problem[0], Capsule(problem[1]))
    assert type(result.u) is np.ndarray
    np.testing.assert_array_equal(result.u, expected.u)


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
def test_read_without_a_copy(convert):
    g = np.ones(5)
    read, _ = read_weights(convert(g))
    assert np.shares_memory(read, g)


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
def test_read_only_and_strided_arrays(problem, expected, convert):
    B, g = problem
    wide = np.zeros((len(g), 3), g.dtype)
    wide[:, 1] = g
    read_only = g.copy()
    read_only.flags.writeable = False
    for array in (wide[:, 1], g[::-1].copy()[::-1], read_only):
        np.testing.assert_array_equal(np.asarray(pc.solve(B, convert(array)).u), expected.u)


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
def test_matrices_and_index_lists(problem, expected, convert):
    B, g = problem
    dense = B.toarray()
    leaving, entering = ([convert(part.copy()) for part in side] for side in pair(B))
    for same in (convert(dense), convert(dense.astype(np.float32)), (leaving, entering)):
        result = pc.solve(same, g)
        assert isinstance(result.u, np.ndarray)
        np.testing.assert_array_equal(result.u, expected.u)


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
def test_starting_point(problem, convert):
    B, g = problem
    u0 = np.arange(B.shape[1]) % 5 - 2.0
    expected = pc.solve(B, g, u0=u0, method="cd").u
    np.testing.assert_array_equal(pc.solve(B, g, u0=convert(u0), method="cd").u, expected)


@pytest.mark.parametrize("convert", [xp.asarray, Capsule])
@pytest.mark.parametrize(
    "bad", [SMALL_G[:3], SMALL_G[:, None], SMALL_G.sum(), SMALL_G + 0j, -SMALL_G, np.nan * SMALL_G]
)
def test_unusable_arrays(convert, bad):
    bad = convert(np.asarray(bad))
    rejected("g", SMALL_B, bad)
    rejected("u0", SMALL_B, SMALL_G, u0=convert(np.array([0.0, np.inf])))
    rejected("B", convert(SMALL_B + 0j), SMALL_G)
    rejected("B", convert(SMALL_B[:, :, None]), SMALL_G)
    assert "leaving[0]" in rejected("B", ([convert(np.array([0.5]))], [[]]), SMALL_G)


class Elsewhere:
    def __init__(self, error):
        self._error = error

    def __dlpack__(self, **_):
        raise self._error

    def __dlpack_device__(self):
        return (1, 0)


def test_an_array_that_cannot_be_handed_on():
    moon = Elsewhere(BufferError("it is on the moon"))
    assert "it is on the moon" in rejected("g", SMALL_B, moon)
    assert "it is on the moon" in rejected("B", moon, SMALL_G)
    assert "it is on the moon" in rejected("u0", SMALL_B, SMALL_G, u0=moon)
    assert "entering[1]" in rejected("B", ([[], []], [[], moon]), SMALL_G)


def test_memory_that_runs_out_is_told_as_such():
    with pytest.raises(pc.OutOfMemoryError, match="solve: "):
        pc.solve(SMALL_B, Elsewhere(RuntimeError("RESOURCE_EXHAUSTED: Out of memory")))
