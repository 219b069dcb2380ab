"""On a CUDA device: the same answers as the CPU backend. Skipped where there is none."""

import copy

import numpy as np
import problems
import pytest
import torch
from test_emulated_arrays import (
    EXAMPLE,
    LONGEST_AXIS,
    ROW_BY_ROW,
    by_tensor,
    some_graph,
    some_weights,
)
from test_emulated_columns import as_csc
from test_emulated_kernels import LARGE, SAME, SHARP, built, weights
from test_emulated_rows import chains, mild, shuffled
from test_emulated_scaling import Grouped, apply, networks, same
from test_emulated_sweeps import chain
from torch import nn
from zoo import graph_of

import pathcond_native as pc
from pathcond_native import _core

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore:Sparse CSC tensor support:UserWarning"),
    pytest.mark.skipif(
        not torch.cuda.is_available() or _core.cuda_status()[0] != "ready",
        reason=f"no CUDA device that this build can use ({_core.cuda_status()[0]})",
    ),
]


def assert_same(graph, g, **options):
    """On the device twice, bit for bit alike, and on the host."""
    on_host = (g.float() if g.dtype == torch.bfloat16 else g).numpy()
    expected = pc.solve(graph, on_host, **options)
    there = g.cuda()
    result = pc.solve(graph, there, **options)
    assert result.u.is_cuda and result.frozen.is_cuda
    assert torch.equal(result.u, pc.solve(graph, there, **options).u), "deterministic"
    assert torch.equal(there.cpu(), g), "g is not changed"
    assert (result.status, result.sweeps) == (expected.status, expected.sweeps)
    assert (result.rows, result.merged_rows) == (expected.rows, expected.merged_rows)
    sharp = [pc.solve(graph, x, tol=SHARP, **options) for x in (there, on_host)]
    assert np.abs(sharp[0].u.cpu().numpy() - sharp[1].u).max(initial=0) <= SAME
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_of_every_kind(dtype):
    graph = some_graph()
    g = some_weights(graph).to(dtype)
    assert_same(graph, g)
    assert_same(graph, g, method="newton")
    g[::3] = 0
    assert_same(graph, g)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_many_tiles(name, dtype):
    graph = built(LARGE[name])
    assert_same(graph, weights(graph, dtype=dtype))


@pytest.mark.parametrize("name", ["mlp", "grouped", "residual_stream", "norm2d"])
def test_models(name):
    graph = graph_of(name)
    if graph.panels is not None:
        assert_same(graph, weights(graph))


@pytest.mark.parametrize("name", ["biases", "kernels of nine taps", "flattened positions"])
def test_sweeps_one_by_one(name):
    graph = built(LARGE[name])
    g = weights(graph)
    for sweeps in (1, 2, 10):  # launched one by one, then as a graph
        asked = {"method": "cd", "tol": 0, "max_sweeps": sweeps}
        expected, found = pc.solve(graph, g.numpy(), **asked), pc.solve(graph, g.cuda(), **asked)
        assert np.abs(found.u.cpu().numpy() - expected.u).max() <= SAME
        assert torch.equal(found.u, pc.solve(graph, g.cuda(), **asked).u), "deterministic"


def test_sweeps_over_many_levels():
    graph = chain(50)
    g = weights(graph, sigma=1.5)
    assert_same(graph, g)


@pytest.mark.parametrize("name", ["biases", "kernels of nine taps", "flattened positions"])
def test_columns_of_a_matrix(name):
    graph = built(LARGE[name])
    B, g = as_csc(graph.incidence()), weights(graph)
    found = pc.solve(B.cuda(), g.cuda(), tol=SHARP)
    assert np.abs(found.u.cpu().numpy() - pc.solve(B, g, tol=SHARP).u.numpy()).max() <= SAME
    assert found.v.is_cuda
    torch.testing.assert_close(
        found.v.cpu(), pc.solve(graph, g, tol=SHARP).v, atol=2 * SAME, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_in_no_order(dtype):
    """Neurons that form layers, and so many groups that pairs go to the host; g with zeros."""
    for B in (
        built(LARGE["kernels of nine taps"]).incidence(),
        built(LARGE["biases"]).incidence(),
        problems.depthwise(np.random.default_rng(0)).B,
        chains(1100),
    ):
        B = shuffled(B)
        g = mild(B, sigma=1).to(dtype)
        g[::7] = 0
        there = as_csc(B).cuda(), g.cuda()
        found = pc.solve(*there, tol=SHARP)
        on_host = pc.solve(B, g.double().numpy(), tol=SHARP)
        assert torch.equal(found.u, pc.solve(*there, tol=SHARP).u), "deterministic"
        assert (found.rows, found.merged_rows) == (on_host.rows, on_host.merged_rows)
        assert (found.status, found.sweeps) == (on_host.status, on_host.sweeps)
        assert np.abs(found.u.cpu().numpy() - on_host.u).max() <= SAME


@pytest.mark.parametrize("name", ROW_BY_ROW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_of_tensors(name, dtype):
    graph = ROW_BY_ROW[name]
    g = some_weights(graph).to(dtype)
    found = pc.solve(graph, g.cuda(), tol=SHARP)
    assert torch.equal(found.u, pc.solve(graph, g.cuda(), tol=SHARP).u), "deterministic"
    expected = pc.solve(graph, g.double().numpy(), tol=SHARP)
    assert np.abs(found.u.cpu().numpy() - expected.u).max() <= SAME


def test_parameters_of_every_kind_are_scaled(monkeypatch):
    """Dtypes, formats and factors of every kind: the bits of the host, in one launch each time."""
    launches, scale = [], _core.scale_on_device

    def counted(parameters, *args, **options):
        launches.append(len(parameters))
        return scale(parameters, *args, **options)

    monkeypatch.setattr(_core, "scale_on_device", counted)
    graph = pc.trace(Grouped(), EXAMPLE)
    exponents = np.random.default_rng(0).normal(0, 3, graph.shape[1])
    for module in networks(Grouped):
        there = copy.deepcopy(module).cuda()
        expected = apply.rescale_parameters(module, graph, exponents)
        assert apply.rescale_parameters(there, graph, exponents) == expected
        assert launches.pop() == len(expected) and not launches
        for a, b in zip(there.parameters(), module.parameters(), strict=True):
            assert same(a.detach().cpu(), b.detach())


def test_absorbed_weights():
    graph = built(LARGE["even kernels"])
    far = np.where(np.arange(graph.shape[1]) % 2, 300.0, -300.0)
    result = pc.solve(graph, weights(graph).cuda(), u0=far)
    assert result.converged and result.gradient_norm <= 1e-12


def test_another_stream():
    graph = some_graph()
    g = some_weights(graph).cuda()
    expected = pc.solve(graph, g)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        later = torch.empty_like(g)
        torch.cuda._sleep(10_000_000)
        later.copy_(g)  # must be done before the kernels read it
        assert torch.equal(pc.solve(graph, later).u, expected.u)


def test_errors_leave_the_device_usable():
    graph = some_graph()
    g = some_weights(graph)
    parts = by_tensor(graph, g.cuda())
    with pytest.raises(pc.InvalidInputError, match="on one device"):
        pc.solve(graph, [*parts[:-1], parts[-1].cpu()])
    bad = g.clone()
    bad[37] = -1
    with pytest.raises(pc.InvalidInputError, match=r"g\[37\] is"):
        pc.solve(graph, bad.cuda())
    assert_same(graph, g)


def test_too_little_memory():
    graph = built([((700, 3), 0, None), ((700, 700, 9), 1, 0), ((4, 700), None, 1)])
    g = torch.ones(graph.shape[0], device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        with pytest.raises(pc.DeviceMemoryError):
            pc.solve(graph, g)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert bool((g == 1).all()) and pc.solve(graph, g).converged


def test_too_little_memory_for_a_model(model):
    model.cuda()
    x = EXAMPLE.cuda()
    graph = pc.trace(model, x)
    before = [x.detach().clone() for x in model.parameters()]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        with pytest.raises((MemoryError, torch.OutOfMemoryError)):
            pc.rescale_(model, x, graph=graph)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert all(map(torch.equal, before, model.parameters()))
    assert pc.rescale_(model, x, graph=graph).neurons


def test_the_diagonal_of_G(model):
    on_host = pc.diag_g(model.double(), EXAMPLE.double())
    g = pc.diag_g(model.cuda(), EXAMPLE.double().cuda())
    assert g.is_cuda
    torch.testing.assert_close(g.cpu(), on_host, rtol=1e-9, atol=0)


@pytest.mark.parametrize("options", [{}, {"round_to": "power_of_two"}])
def test_a_model_is_rescaled_where_it_is(options, model, no_large_copies):
    on_host = pc.rescale(model, EXAMPLE, **options)
    model.cuda()
    graph = pc.trace(model, EXAMPLE.cuda())
    _ = graph.panels
    no_large_copies(LONGEST_AXIS)
    report = pc.rescale_(model, EXAMPLE.cuda(), graph=graph, **options)
    assert report.verification.max_relative_error <= 1e-5
    for a, b in zip(model.parameters(), on_host.parameters(), strict=True):
        assert a.is_cuda
        torch.testing.assert_close(a, b.cuda(), rtol=1e-5, atol=0)


class Shuffled(nn.Module):
    """Channels in another order, by indices that lie on the model's device."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.register_buffer("order", torch.tensor([3, 1, 0, 2, 7, 5, 6, 4]))

    def forward(self, x):
        x = torch.relu(self.first(x))[:, self.order]
        return self.last(torch.relu(self.second(x)).index_select(1, self.order))


def test_indices_on_the_device():
    torch.manual_seed(0)
    module, x = Shuffled(), torch.randn(4, 5)
    on_host = pc.rescale(module, x)
    module.cuda()
    assert pc.rescale_(module, x.cuda()).neurons == 16
    for a, b in zip(module.parameters(), on_host.parameters(), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=0)


def test_cupy():
    cupy = pytest.importorskip("cupy")
    graph = some_graph()
    g = some_weights(graph).numpy()
    result = pc.solve(graph, cupy.asarray(g))
    assert isinstance(result.u, cupy.ndarray)
    assert np.abs(result.u.get() - pc.solve(graph, g).u).max() <= SAME
