"""Tensors of torch: in, and back in kind."""

import numpy as np
import pytest
from problems import layered, mild, real_values
from test_errors import B as SMALL_B
from test_errors import G as SMALL_G
from test_errors import rejected
from test_inputs import pair
from tolerances import ITERATE, OPTIMUM

import pathcond_native as pc

torch = pytest.importorskip("torch")

pytestmark = [
    # About how the tests build their inputs, not about what the package does with them.
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
]


@pytest.fixture(scope="module")
def problem():
    r = np.random.default_rng(0)
    incidence = layered(r)
    return incidence.B, mild(r, incidence.layer)


@pytest.fixture(scope="module")
def expected(problem):
    return pc.solve(*problem).u


def torch_layouts(B):
    dense = torch.from_numpy(B.toarray())
    coo = dense.to_sparse_coo()
    uncoalesced = torch.sparse_coo_tensor(
        torch.cat([coo.indices(), coo.indices()], dim=1),
        torch.cat([2 * coo.values(), -coo.values()]),
        dense.shape,
    )
    return {
        "dense": dense,
        "coo": coo,
        "uncoalesced": uncoalesced,
        "csc": dense.to_sparse_csc(),
        "csr": dense.to_sparse_csr(),
        "transposed": dense.T.contiguous().T,
    }


@pytest.mark.parametrize("layout", ["dense", "coo", "uncoalesced", "csc", "csr", "transposed"])
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_layouts(problem, expected, layout, dtype):
    B = torch_layouts(problem[0].astype(dtype))[layout]
    before = B.to_dense().clone()
    np.testing.assert_array_equal(pc.solve(B, problem[1]).u, expected)
    assert torch.equal(B.to_dense(), before)


def test_values_of_half_precision(problem, expected):
    for dtype in (torch.bfloat16, torch.float16):
        dense = torch.from_numpy(problem[0].toarray()).to(dtype)
        for B in (dense, dense.to_sparse_coo(), dense.to_sparse_csr(), dense.to_sparse_csc()):
            np.testing.assert_array_equal(pc.solve(B, problem[1]).u, expected)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_integers_other_than_one(dtype):
    r = np.random.default_rng(1)
    B = r.integers(-3, 4, (40, 5)).astype(dtype)
    g = r.random(40)
    np.testing.assert_array_equal(pc.solve(torch.from_numpy(B), g).u, pc.solve(B, g).u)


def test_real_values():
    r = np.random.default_rng(6)
    B = real_values(r).B
    g = mild(r, np.zeros(B.shape[0], int))
    np.testing.assert_array_equal(pc.solve(torch.from_numpy(B.toarray()), g).u, pc.solve(B, g).u)


def test_pair_of_index_tensors(problem, expected):
    lists = [[torch.from_numpy(part.copy()) for part in side] for side in pair(problem[0])]
    np.testing.assert_array_equal(pc.solve(tuple(lists), problem[1]).u, expected)


def test_g_gives_torch_results(problem, expected):
    B, g = problem
    tensor = torch.from_numpy(g).clone().requires_grad_()
    result = pc.solve(B, tensor)
    for array in (result.u, result.v, result.scales, result.parameter_scales):
        assert isinstance(array, torch.Tensor)
        assert array.dtype == torch.float64
        assert array.device == tensor.device
        assert not array.requires_grad
    assert result.frozen.dtype == torch.bool
    np.testing.assert_array_equal(result.u.numpy(), expected)
    np.testing.assert_allclose(result.v.numpy(), B @ expected, rtol=0, atol=OPTIMUM)
    assert tensor.grad is None
    assert torch.equal(tensor.detach(), torch.from_numpy(g))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int32])
def test_types_of_g(problem, dtype):
    g = torch.from_numpy(np.clip(np.round(8 * problem[1]), 1, 100)).to(dtype)
    expected = pc.solve(problem[0], g.double().numpy()).u
    result = pc.solve(problem[0], g)
    assert result.u.dtype == torch.float64
    np.testing.assert_allclose(result.u.numpy(), expected, rtol=0, atol=ITERATE)


def test_g_that_is_not_contiguous(problem, expected):
    g = torch.from_numpy(problem[1]).repeat_interleave(2)[::2]
    np.testing.assert_array_equal(pc.solve(problem[0], g).u.numpy(), expected)


def test_parameter_and_default_dtype(problem, expected):
    g = torch.nn.Parameter(torch.from_numpy(problem[1]))
    np.testing.assert_array_equal(pc.solve(problem[0], g).u.numpy(), expected)


def test_b_and_numpy_g_give_numpy(problem):
    result = pc.solve(torch.from_numpy(problem[0].toarray()), problem[1])
    assert isinstance(result.u, np.ndarray)


def test_starting_point(problem):
    B, g = problem
    u0 = np.arange(B.shape[1]) % 5 - 2.0
    given = torch.from_numpy(u0.copy())
    expected = pc.solve(B, g, u0=u0, method="cd").u
    np.testing.assert_array_equal(pc.solve(B, g, u0=given, method="cd").u, expected)
    np.testing.assert_array_equal(given, u0)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_values_of_g(bad):
    for dtype in (torch.float32, torch.float64):
        g = torch.tensor(SMALL_G).to(dtype)
        g[3] = bad
        assert "g[3]" in rejected("g", SMALL_B, g)


@pytest.mark.parametrize(
    "bad",
    [
        torch.ones(4, 1),
        torch.ones(3),
        torch.ones(4, dtype=torch.complex64),
        torch.ones(4).to_sparse(),
        torch.ones(4, device="meta"),
    ],
    ids=repr,
)
def test_kinds_of_g(bad):
    rejected("g", SMALL_B, bad)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(4),
        torch.zeros(4, 2, 1),
        torch.zeros(4, 2, dtype=torch.complex64),
        torch.zeros(4, 2, dtype=torch.complex64).to_sparse_coo(),
        torch.full((4, 2), torch.nan),
        torch.zeros(4, 2, device="meta"),
        torch.zeros(4, 2, 1).to_sparse_coo(),
        torch.ones(4, 2, 3).to_sparse_coo(),
        torch.ones(4, 2).to_sparse(1),
    ],
    ids=repr,
)
def test_kinds_of_b(bad):
    rejected("B", bad, SMALL_G)


@pytest.mark.parametrize("shape", [(3, 2), (5, 2), (2, 4), (0, 2)])
def test_numbers_of_rows_differ(shape):
    message = rejected("g", torch.zeros(shape), SMALL_G)
    assert str(shape[0]) in message
    assert "4" in message


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(2, 1), torch.tensor([0.0, torch.inf])])
def test_kinds_of_starting_points(bad):
    rejected("u0", SMALL_B, SMALL_G, u0=bad)


@pytest.mark.parametrize(
    "indices", [[0, 1, 1, 4], [0, 1, -1, 2], [0, 1, 1, 2**40]], ids=["large", "negative", "64-bit"]
)
def test_corrupted_matrices(indices):
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        matrix = torch.sparse_csc_tensor(
            torch.tensor([0, 2, 4]), torch.tensor(indices), torch.ones(4), (4, 2)
        )
    rejected("B", matrix, SMALL_G)
