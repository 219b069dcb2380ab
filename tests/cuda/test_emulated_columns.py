"""A matrix B and g on a device, the device played by the host."""

import sys
import types

import numpy as np
import problems
import pytest
import scipy.sparse as sp
import torch
from corrupted_matrices import CASES
from test_emulated_kernels import LARGE, SAME, SHARP, as_tensors, built, weights
from test_model_panels import Tensors, ids
from test_model_trace import CONV_3_8_12_6_4
from zoo import graph_of, mlp

import pathcond_native as pc
from pathcond_native import device_arrays
from pathcond_native.model import trace


def as_csc(B, index=torch.int64, value=torch.float64):
    """A torch tensor in the layout that is read in place; torch warns of it when it makes one."""
    B = sp.csc_array(B)
    arrays = [torch.from_numpy(np.asarray(x)) for x in (B.indptr, B.indices, B.data)]
    sizes = {"size": B.shape, "check_invariants": False}
    return torch.sparse_csc_tensor(
        arrays[0].to(index), arrays[1].to(index), arrays[2].to(value), **sizes
    )


pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{x}:UserWarning")
    for x in ("Sparse CS. tensor support", "Sparse invariant checks")
]


def assert_same(B, matrix, g, emulated, **options):
    """Both orders of blocks and threads, and the host."""
    on_host = (g.float() if g.dtype == torch.bfloat16 else g).numpy()
    asked = {"tol": SHARP, **options}
    expected = pc.solve(B, on_host, **asked)
    before, found = emulated.solved, []
    for emulated.late in (False, True):
        found.append(pc.solve(matrix, g, **asked))
    assert emulated.solved == before + 2, "recognised"
    assert torch.equal(found[0].u, found[1].u)
    assert np.abs(found[0].u.numpy() - expected.u).max(initial=0) <= SAME
    assert (found[0].status, found[0].sweeps) == (expected.status, expected.sweeps)
    assert (found[0].rows, found[0].merged_rows) == (expected.rows, expected.merged_rows)
    assert np.array_equal(found[0].frozen.numpy(), expected.frozen)
    np.testing.assert_allclose(found[0].v.numpy(), B @ found[0].u.numpy(), atol=1e-12)
    return found[0]


@pytest.mark.parametrize(
    ("name", "model", "inputs"),
    [
        ("mlp_20_32_16_24_5", mlp(20, 32, 16, 24, 5), (1, 20)),
        ("conv_3_8_12_6_4", CONV_3_8_12_6_4, (1, 3, 8, 8)),
    ],
)
def test_the_reference_problems(name, model, inputs, emulated):
    B, data = problems.reference(name)
    g = torch.from_numpy(data["g"])
    result = assert_same(B, as_csc(B), g, emulated)
    assert np.abs(result.u.numpy() - data["u_optimal"]).max() <= 1e-8
    sweeps = pc.solve(as_csc(B), g, method="cd", tol=0, max_sweeps=10)
    assert np.abs(sweeps.u.numpy() - data["u_sweeps_10"]).max() <= 1e-10
    assert (trace(model, torch.ones(inputs)).incidence() != B).nnz == 0


# Two tensors between the same layers are rows counted apart; the others make B large.
SOME = LARGE.keys() - {"two tensors between the same layers", "biases", "a wide last layer"}


@pytest.mark.parametrize("name", sorted(SOME))
def test_tensors_of_many_tiles(name, emulated):
    graph = built(LARGE[name])
    B = graph.incidence()
    g = weights(graph, dtype=torch.float32)
    assert_same(B, as_csc(B), g, emulated)
    g[::7] = 0
    assert_same(B, as_csc(B), g, emulated)


@pytest.mark.parametrize("problem", [problems.residual_stages, problems.deep])
def test_columns_in_many_pieces(problem, emulated, monkeypatch):
    """Streams that many layers read and write: more pieces than there is room for at first."""
    graph = as_tensors(monkeypatch, problem, 0)
    B = graph.incidence()
    result = pc.solve(as_csc(B), weights(graph, sigma=1))
    assert emulated.solved == 1 and result.converged
    assert np.abs(result.u.numpy() - pc.solve(B, weights(graph, sigma=1).numpy()).u).max() <= 1e-9


@pytest.mark.parametrize("value", [torch.int8, torch.int32, torch.int64, torch.float32])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_types_of_entries(value, index, emulated):
    graph = built(LARGE["kernels of nine taps"])
    B = graph.incidence()
    g = weights(graph)
    expected = pc.solve(as_csc(B), g)
    assert torch.equal(pc.solve(as_csc(B, index, value), g).u, expected.u)
    assert torch.equal(pc.solve(as_csc(B, index, torch.float16), g).u, expected.u)
    assert emulated.refused == 0


def test_kinds_of_matrices_and_of_g(emulated):
    graph = built([((6, 4, 9), 0, None), ((8, 6, 9), 1, 0), ((8,), 1, None), ((4, 8), None, 1)])
    B = graph.incidence()
    dense = torch.from_numpy(B.toarray())
    g = weights(graph)
    expected = pc.solve(as_csc(B), g)
    csr = torch.sparse_csr_tensor(
        *map(torch.from_numpy, (B.tocsr().indptr, B.tocsr().indices, B.tocsr().data)), size=B.shape
    )
    for form in (dense, dense.to_sparse_coo(), dense.bool() * dense, csr):
        assert torch.equal(pc.solve(form, g).u, expected.u)
    spread = torch.stack([g, g], 1)[:, 0]
    assert torch.equal(pc.solve(as_csc(B), spread).u, expected.u)
    assert_same(B, as_csc(B), g.bfloat16(), emulated)
    assert emulated.refused == 0


@pytest.mark.parametrize("name", ["mlp", "norm2d", "residual"])
def test_models(name, emulated):
    graph = graph_of(name)
    assert_same(graph.incidence(), as_csc(graph.incidence()), weights(graph), emulated)


def test_what_the_host_solves(emulated):
    """Other values than +1 and -1, more than one of each in a row: B and g go to the host."""
    graph = built(LARGE["kernels of nine taps"])
    B = graph.incidence()
    g = weights(graph)
    leaves_two, enters_two = (sp.lil_array(B.astype(float)) for _ in range(2))
    leaves_two[-1, [-1, -2]] = 1
    enters_two[0, [0, 1]] = -1
    for matrix in (2 * B, sp.csc_array(leaves_two), sp.csc_array(enters_two)):
        emulated.refused = 0
        result = pc.solve(as_csc(matrix), g)
        assert np.array_equal(result.u.numpy(), pc.solve(matrix, g.numpy()).u)
        assert emulated.refused == 1
    assert emulated.solved == 0
    unconnected = sp.csc_array(B.shape, dtype=np.int8)
    assert np.array_equal(pc.solve(as_csc(unconnected), g).u, np.zeros(B.shape[1]))
    assert pc.solve(as_csc(sp.csc_array((5, 0))), g[:5]).u.shape == (0,)
    assert emulated.solved == 2
    with pytest.raises(pc.InvalidInputError, match="one entry per row of B"):
        pc.solve(as_csc(B), g[:-1])
    with pytest.raises(pc.InvalidInputError, match=r"g\[3\] is"):
        pc.solve(as_csc(B), torch.where(torch.arange(len(g)) == 3, np.nan, g))
    with pytest.raises(pc.InvalidInputError, match="expected a matrix"):
        pc.solve(torch.ones(2, 2, 2), g[:2])


@pytest.mark.parametrize("case", CASES)
def test_corrupted_matrices(case, cupy, play):
    """What the kernels refuse is named by the host, whatever the arrays hold."""
    state = play(lambda x: isinstance(x, cupy.ndarray))
    dense, g = np.array([[1, 0], [-1, 1], [0, -1], [0, 0]]), [1.0, 2.0, 3.0, 4.0]
    B, on_host = cupy.csc_matrix(dense), sp.csc_array(dense)
    assert pc.solve(B, cupy.asarray(g)).converged and state.solved == 1
    for name, array in CASES[case].items():
        setattr(B, name, array)
        setattr(on_host, name, np.asarray(array))
    with pytest.raises(pc.InvalidInputError) as expected:
        pc.solve(on_host, g)
    with pytest.raises(pc.InvalidInputError) as found:
        pc.solve(B, cupy.asarray(g))
    assert str(found.value) == str(expected.value) and state.solved == 1


def test_cupy_matrices(cupy, play):
    graph = built(LARGE["kernels of nine taps"])
    g = weights(graph).numpy()
    expected = pc.solve(graph.incidence(), g)
    state = play(lambda x: isinstance(x, cupy.ndarray))
    for dtype in (np.int8, np.float32, np.float64):
        result = pc.solve(cupy.csc_matrix(graph.incidence().astype(dtype)), cupy.asarray(g))
        assert isinstance(result.u, cupy.ndarray)
        assert np.abs(np.asarray(result.u) - expected.u).max() <= SAME
        assert np.allclose(result.v, graph.incidence() @ np.asarray(result.u))
    assert state.solved == 3


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.float16, np.float32])
def test_dense_matrices_of_cupy(dtype, cupy, play, monkeypatch):
    """Whose sparse matrices hold no integers."""
    sparse = types.ModuleType("cupyx.scipy.sparse")
    sparse.csc_matrix = cupy.csc_matrix
    monkeypatch.setitem(sys.modules, "cupyx.scipy.sparse", sparse)
    B = np.zeros((20, 4), dtype)
    for neuron in range(4):
        B[5 * neuron : 5 * neuron + 5, neuron] = 1 if dtype == np.bool_ else -1
    g = np.arange(1.0, 21.0)
    state = play(lambda x: isinstance(x, cupy.ndarray))
    found = pc.solve(cupy.asarray(B), cupy.asarray(g))
    assert state.solved == 1
    assert np.abs(np.asarray(found.u) - pc.solve(B, g).u).max() <= SAME


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0)])
def test_matrices_of_nothing(shape, emulated):
    B, g = torch.zeros(shape), torch.ones(shape[0])
    found, expected = pc.solve(B, g), pc.solve(B.numpy(), g.numpy())
    assert emulated.solved == 1
    assert found.status == expected.status and found.objective == expected.objective
    assert found.u.tolist() == expected.u.tolist() and found.v.tolist() == expected.v.tolist()


def test_matrices_and_weights_on_two_devices(emulated, monkeypatch):
    graph = built(LARGE["kernels of nine taps"])
    monkeypatch.setattr(
        device_arrays._Torch, "place", lambda self, x: f"cuda:{int(x.ndim == 0 or x.min() < 0)}"
    )
    with pytest.raises(pc.InvalidInputError, match=r"got B on cuda:1 and g on cuda:0"):
        pc.solve(as_csc(graph.incidence()), weights(graph))


def test_no_large_copy(emulated, no_large_copies):
    graph = built(LARGE["even kernels"])
    B, g = as_csc(graph.incidence()), weights(graph)
    no_large_copies(graph.shape[1])
    for options in ({}, {"method": "cd"}, {"method": "newton"}):
        result = pc.solve(B, g, **options)
        assert result.v.shape == result.parameter_scales.shape == g.shape
    result = pc.solve(graph, g)
    assert result.parameter_scales.shape == g.shape
    assert emulated.solved == 4 and emulated.refused == 0


def test_products_with_graphs(emulated):
    """v of a graph is computed where u is."""
    for name in ("mlp", "grouped", "residual_stream"):
        graph = graph_of(name)
        result = pc.solve(graph, weights(graph))
        np.testing.assert_allclose(result.v.numpy(), graph.multiply(result.u.numpy()), atol=1e-15)
    nothing = Tensors([((3, 3), ids(-1), ids(-1))], 0)
    assert torch.equal(pc.solve(nothing, torch.ones(9)).v, torch.zeros(9, dtype=torch.float64))
