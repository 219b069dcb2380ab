"""The CUDA backend itself, launches and all, on a runtime whose devices are the host.

Only in a build for ThreadSanitizer (see `CMakeLists.txt` here), which ends the process at a race.
"""

import ctypes
from contextlib import contextmanager

import numpy as np
import problems
import pytest
import test_emulated_columns as of_columns
import test_emulated_kernels as of_tensors
import torch
from test_emulated_arrays import ROW_BY_ROW, some_graph, some_weights
from test_emulated_kernels import LARGE, built, weights
from test_emulated_rows import chains, mild, shuffled
from test_emulated_scaling import LARGE as LARGE_SHAPES
from test_emulated_scaling import SHAPES, check, drawn, varying
from test_emulated_sweeps import assert_same_iterates, chain
from test_model_panels import Tensors, ids

import pathcond_native as pc
from pathcond_native import _core

runtime = ctypes.CDLL(_core.__file__)
pytestmark = [
    pytest.mark.skipif(
        not hasattr(runtime, "runtime_calls"), reason="this build has no runtime of the host's"
    ),
    *of_columns.pytestmark,
]
solve_on_device, scale_on_device = _core.solve_on_device, _core.scale_on_device


@pytest.fixture
def emulated(emulated, monkeypatch):
    """As elsewhere, but what is called is what a device would be used with."""

    def solve(source, allocate, *, late, **options):
        return solve_on_device(source, allocate, device=0, stream=0, **options), 0, 0

    def scale(parameters, factors, allocate, *, late):
        return scale_on_device(parameters, factors, allocate, device=0, stream=0)

    monkeypatch.setattr(_core, "solve_emulated", solve)
    monkeypatch.setattr(_core, "scale_emulated", scale)
    yield emulated
    assert runtime.runtime_graphs() == 0, "all graphs are destroyed"


@contextmanager
def failing(call, for_good=False):
    """The runtime fails from then on, at the call of this number."""
    runtime.runtime_fail(call, for_good)
    try:
        yield
    finally:
        runtime.runtime_fail(0, False)


def small(n=70):
    """Taps, channels without a neuron on a side, and a layer that spans tiles."""
    first, second = np.arange(n, dtype=np.int32), np.arange(n, 2 * n, dtype=np.int32)
    return Tensors(
        [
            ((n, 3, 9), first.reshape(n, 1, 1), ids(-1)),
            ((n, n), second.reshape(n, 1), first),
            ((n,), second, ids(-1)),
            ((4, n), ids(-1), second),
        ],
        2 * n,
    )


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {}),
        (torch.float64, {"method": "newton"}),
        (torch.bfloat16, {"max_scale": 2.0}),
    ],
)
def test_tensors(dtype, options, emulated):
    for graph in (small(), some_graph()):
        g = weights(graph, sigma=1, dtype=dtype)
        of_tensors.assert_same(graph, g, emulated, **options)
        g[::3] = 0
        of_tensors.assert_same(graph, g, emulated, **options)


def test_sweeps_as_a_graph(emulated):
    launches = runtime.runtime_graph_launches()
    assert_same_iterates(small(), weights(small(), sigma=1), emulated)
    assert runtime.runtime_graph_launches() > launches
    for method, graph in (("auto", chain(9)), ("cd", chain(9)), ("auto", small())):
        launches = runtime.runtime_graph_launches()
        of_tensors.assert_same(graph, weights(graph, sigma=2), emulated, method=method)
        assert runtime.runtime_graph_launches() > launches


def test_weights_far_from_their_scale(emulated):
    """Steps of 10^130 are taken into the weights, and strong couplings are looked for."""
    graph = small()
    far = np.where(np.arange(graph.shape[1]) % 2, 300.0, -300.0)
    of_tensors.assert_same(graph, weights(graph, sigma=1), emulated, u0=far)
    of_tensors.assert_same(graph, weights(graph, sigma=12), emulated, same=None)


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_rows_of_tensors(name, emulated):
    graph = ROW_BY_ROW[name]
    of_tensors.assert_same(graph, some_weights(graph), emulated)


def test_columns(emulated):
    B = small(20).incidence()
    for matrix in (
        B,
        shuffled(B),
        shuffled(chains(50)),
        problems.depthwise(np.random.default_rng(0)).B,
    ):
        g = mild(matrix, sigma=1)
        g[::7] = 0
        of_columns.assert_same(matrix, of_columns.as_csc(matrix), g, emulated)


@pytest.mark.parametrize("name", ["biases", "flattened positions"])
def test_many_tiles(name, emulated):
    graph = built(LARGE[name])
    of_tensors.assert_same(graph, weights(graph, sigma=1), emulated)


def test_parameters(emulated):
    r, cases = np.random.default_rng(0), []
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for shape in (*SHAPES, LARGE_SHAPES[3], LARGE_SHAPES[5]):
            along = [tuple(range(len(shape)))[:1], tuple(range(len(shape)))[1:2]]
            cases.append((drawn(r, shape, dtype), list(varying(r, shape, along, dtype))))
    check(emulated, cases)


def test_another_device_than_the_current_one(emulated, monkeypatch):
    """Streams refuse what is asked of them while another device is the current one."""
    asked = {"device": 2, "stream": 16 + 2}
    monkeypatch.setattr(
        _core,
        "solve_emulated",
        lambda source, allocate, late, **options: (
            solve_on_device(source, allocate, **asked, **options),
            0,
            0,
        ),
    )
    graph = some_graph()
    g = some_weights(graph)
    runtime.runtime_devices(3, 1)
    try:
        of_tensors.assert_same(graph, g, emulated)
        assert runtime.runtime_current_device() == 1
        asked["stream"] = 16 + 1
        with pytest.raises(pc.DeviceError, match="error 400"):
            pc.solve(graph, g)
        asked["device"] = 3
        with pytest.raises(pc.DeviceError, match="choosing the device of g: error 101"):
            pc.solve(graph, g)
        assert runtime.runtime_current_device() == 1
    finally:
        runtime.runtime_devices(1, 0)


@pytest.mark.parametrize(("method", "for_good"), [("auto", False), ("cd", True)])
def test_every_call_of_the_runtime_may_fail(method, for_good, emulated):
    graph = small(4)
    g = weights(graph, sigma=1)
    asked = {"method": method, "tol": 0, "max_sweeps": 3}
    with failing(0):
        expected = pc.solve(graph, g, **asked)
        calls = runtime.runtime_calls()
    assert calls > 30
    raised = 0
    for call in range(1, calls + 1):
        emulated.pieces.clear()
        with failing(call, for_good):
            try:
                result = pc.solve(graph, g, **asked)
            except pc.DeviceError as error:
                assert "error 999" in str(error)
                raised += 1
            else:  # it was the destruction of something
                assert torch.equal(result.u, expected.u)
        assert runtime.runtime_graphs() == 0 and runtime.runtime_under_way() == 0
        assert all(piece() is None for piece in emulated.pieces), "no memory is held"
    assert raised > calls * 0.8
    assert torch.equal(pc.solve(graph, g, **asked).u, expected.u), "usable again"


def test_status():
    assert _core.cuda_status(0) == ("ready", "the host")
    state, reason = _core.cuda_status(1)
    assert state == "failed" and "error 101" in reason
    for call, state in ((1, "no driver"), (2, "failed"), (3, "failed")):
        with failing(call):
            assert _core.cuda_status(0)[0] == state
