"""Arrays in and out, errors and memory of the device path, the device played by the host."""

from functools import cache

import numpy as np
import pytest
import torch
from test_model_panels import Tensors, ids, layered
from torch import nn

import pathcond_native as pc
from pathcond_native import _core, device, device_arrays, solver, structured


def some_graph():
    return Tensors(layered(np.random.default_rng(0), np.arange(18, dtype=np.int32)), 18)


def some_weights(graph):
    return torch.from_numpy(np.random.default_rng(1).lognormal(0, 2, graph.shape[0]))


def by_tensor(graph, g):
    return [g[rows] for rows, _ in graph.panels]


EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LONGEST_AXIS = 512
"""Of a parameter of `model`; weights have up to 32768 entries."""


def test_every_form_of_g(emulated):
    graph = some_graph()
    g = some_weights(graph)
    whole = pc.solve(graph, g)
    assert isinstance(whole.u, torch.Tensor) and whole.u.dtype == torch.float64
    assert whole.frozen.dtype == torch.bool and whole.scales.shape == (18,)
    parts = by_tensor(graph, g)
    spread = torch.stack([g, g], 1)[:, 0]
    assert not spread.is_contiguous()
    for form in (parts, tuple(parts), iter(parts), spread, g.clone().requires_grad_()):
        assert torch.equal(pc.solve(graph, form).u, whole.u)
    mixed = [x.float() if i % 2 else x for i, x in enumerate(parts)]
    assert torch.allclose(pc.solve(graph, mixed).u, whole.u, atol=1e-4)
    counts = torch.arange(1, graph.shape[0] + 1)
    assert torch.equal(pc.solve(graph, counts).u, pc.solve(graph, counts.double()).u)
    half = (g / g.max()).half() + 0.01
    assert torch.equal(pc.solve(graph, half).u, pc.solve(graph, half.float()).u)
    assert {call["dtype"] for call in emulated.calls} == {"float32", "float64"}
    assert emulated.refused == 0


def test_unusable_forms_of_g(emulated):
    graph = some_graph()
    g = some_weights(graph)
    for bad, message in (
        (g[:-1], "one entry per parameter"),
        (g.reshape(1, -1), "1-D"),
        (g.to(torch.complex128), "real numbers"),
        (g.to_sparse(), "dense tensor"),
        (by_tensor(graph, g)[:-1], "one per tensor of the graph"),
        ([*by_tensor(graph, g)[:-1], by_tensor(graph, g)[-1].numpy()], "on one device, got g.0. "),
    ):
        with pytest.raises(pc.InvalidInputError, match=message):
            pc.solve(graph, bad)
    assert emulated.solved == 0


STREAM = np.arange(4, dtype=np.int32)
SHUFFLED = np.array([6, 4, 7, 5], dtype=np.int32)
ROW_BY_ROW = {
    "a layer that writes to what it reads": Tensors(
        [
            ((4, 2), STREAM.reshape(4, 1), ids(-1)),
            ((4, 4), STREAM.reshape(4, 1), STREAM),
            ((1, 4), ids(-1), STREAM),
        ],
        4,
    ),
    "an irregular tensor beside another": Tensors(
        [
            ((4, 2), STREAM.reshape(4, 1), ids(-1)),
            ((4, 4), 4 + STREAM.reshape(4, 1), STREAM),
            ((4, 4), SHUFFLED.reshape(4, 1), STREAM),
            ((1, 4), ids(-1), 4 + STREAM),
        ],
        8,
    ),
}


@pytest.mark.parametrize("name", ROW_BY_ROW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_of_tensors(name, dtype, emulated):
    """Problems that sums over tensors do not tell are read row by row, where they are."""
    graph = ROW_BY_ROW[name]
    g = some_weights(graph).to(dtype)
    for parts in (g, by_tensor(graph, g)):
        result = pc.solve(graph, parts, tol=1e-14)
        expected = pc.solve(graph, g.double().numpy(), tol=1e-14)
        assert np.abs(result.u.numpy() - expected.u).max() <= 1e-10
        assert (result.rows, result.merged_rows) == (expected.rows, expected.merged_rows)
        np.testing.assert_allclose(result.v, graph.incidence() @ result.u.numpy(), atol=1e-12)
    assert emulated.solved == 2 and emulated.refused == 0
    g[3] = np.nan
    with pytest.raises(pc.InvalidInputError, match=r"g\[3\] is"):
        pc.solve(graph, g)


@pytest.mark.parametrize("name", ROW_BY_ROW)
@pytest.mark.parametrize("method", ["auto", "newton", "cd"])
@pytest.mark.parametrize("options", [{"criterion": "enorm"}, {"max_scale": 1.5}, {"u0": None}])
def test_options_with_rows_of_tensors(name, method, options, emulated):
    graph = ROW_BY_ROW[name]
    g = some_weights(graph)
    g[::3] = 0
    if "u0" in options:
        options = {"u0": np.linspace(-1, 1, graph.shape[1])}
    if method == "cd":
        options = {**options, "tol": 0.0, "max_sweeps": 30}
    found = pc.solve(graph, g, method=method, **options)
    expected = pc.solve(graph, g.numpy(), method=method, **options)
    assert emulated.solved == 1
    assert (found.status, found.merged_rows) == (expected.status, expected.merged_rows)
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    assert np.abs(found.u.numpy() - expected.u).max() <= 1e-8


def test_permuted_channels_stay_on_the_device(emulated, no_large_copies):
    rng = np.random.default_rng(0)
    first = np.arange(200, dtype=np.int32)
    second, third = (k * 200 + rng.permutation(200).astype(np.int32) for k in (1, 2))
    graph = Tensors(
        [
            ((200, 30), first.reshape(200, 1), ids(-1)),
            ((200, 200, 9), second.reshape(200, 1, 1), rng.permutation(first).reshape(200, 1)),
            ((200, 200), third.reshape(200, 1), rng.permutation(second)),
            ((10, 200), ids(-1), third),
        ],
        600,
    )
    g = torch.from_numpy(rng.lognormal(0, 1, graph.shape[0]))
    expected = torch.from_numpy(pc.solve(graph, g.numpy(), tol=1e-14).u)
    no_large_copies(600)
    for emulated.late in (False, True):
        emulated.on_host = 0
        result = pc.solve(graph, g, tol=1e-14)
        assert emulated.on_host <= 800 * 600 + 2**17 < 8 * 80000, "numbers per neuron"
        assert float((result.u - expected).abs().max()) <= 1e-10
    assert emulated.solved == 2 and emulated.refused == 0


def test_permuted_channels_beside_many_kinds_of_neurons(emulated):
    """Rows would be sorted, did they form layers; tensors tell those."""
    rng = np.random.default_rng(0)
    first, second = (k * 300 + np.arange(300, dtype=np.int32) for k in (0, 1))
    chain = 600 + np.arange(1100, dtype=np.int32)
    graph = Tensors(
        [
            ((300, 3), first.reshape(300, 1), ids(-1)),
            ((300, 300), rng.permutation(second).reshape(300, 1), rng.permutation(first)),
            ((4, 300), ids(-1), second),
            ((1100, 3), chain.reshape(1100, 1), ids(-1)),
            ((1100, 1, 3, 3), (1100 + chain).reshape(1100, 1, 1, 1), chain.reshape(1100, 1, 1, 1)),
            ((5, 1100), ids(-1), 1100 + chain),
        ],
        2800,
    )
    g = torch.from_numpy(rng.lognormal(0, 1, graph.shape[0]))
    found, expected = pc.solve(graph, g, tol=1e-14), pc.solve(graph, g.numpy(), tol=1e-14)
    assert emulated.solved == 1 and found.sweeps == expected.sweeps
    assert np.abs(found.u.numpy() - expected.u).max() <= 1e-10


def test_weights_too_far_apart_for_tensors(emulated):
    graph = some_graph()
    g = some_weights(graph)
    g[::5] *= 1e-250
    found, expected = pc.solve(graph, g), pc.solve(graph, g.numpy())
    assert emulated.solved == 1 and found.status == expected.status
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)


def negated(x):
    """x, whose memory holds -x."""
    y = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert y.is_neg() and torch.equal(y, x)
    return y


def test_numbers_that_are_stored_negated(emulated, model):
    graph = some_graph()
    g = some_weights(graph)
    B = torch.from_numpy(graph.incidence().toarray()).double()
    expected = pc.solve(graph, g.numpy()).u
    for problem, weights in (
        (graph, negated(g)),
        (graph, [negated(x) for x in by_tensor(graph, g)]),
        (B, negated(g)),
        (negated(B), g),
    ):
        assert np.abs(pc.solve(problem, weights).u.numpy() - expected).max() <= 1e-10
    assert emulated.solved == 4 and emulated.refused == 0

    plain = pc.rescale(model, EXAMPLE)
    model[2].weight = nn.Parameter(negated(model[2].weight.detach()))
    pc.rescale_(model, EXAMPLE)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_device_that_fails_is_asked_again(monkeypatch):
    answers = iter([("failed", "busy"), ("ready", "a device")])
    monkeypatch.setattr(device, "_known_status", cache(lambda _: next(answers)))
    assert [device.reason_against(0) for _ in range(3)] == ["CUDA: failed, busy", None, None]


def test_a_device_that_cannot_be_used_is_said(monkeypatch):
    graph = some_graph()
    g = some_weights(graph)
    asked = []

    def status(number):
        asked.append(number)
        return "device too old", "Tesla T4 has compute capability 7.5"

    monkeypatch.setattr(device, "_status", status)
    monkeypatch.setattr(device_arrays._Torch, "device_and_stream", lambda self, x: (1, 0))
    for module in (device_arrays, solver, structured):
        monkeypatch.setattr(module, "on_device", lambda x: isinstance(x, torch.Tensor))
    matrix = torch.from_numpy(graph.incidence().toarray())
    for B in (graph, matrix):
        with pytest.warns(UserWarning, match="device too old, Tesla T4 has") as warned:
            result = pc.solve(B, g)
        assert warned[0].filename == __file__
        expected = pc.solve(B.numpy() if B is matrix else B, g.numpy())
        assert np.array_equal(result.u.numpy(), expected.u)
    assert asked == [1, 1], "the device of g, not the first"


def test_without_a_device_there_is_an_error_not_a_crash():
    state, _ = _core.cuda_status()
    assert state in (
        "not built",
        "no driver",
        "driver too old",
        "no device",
        "device too old",
        "failed",
        "ready",
    )
    if state == "ready":
        pytest.skip("there is a device")
    options = {"method": "auto", "linear": True, "tolerance": None, "max_sweeps": None, "u0": []}
    with pytest.raises(_core.DeviceError):
        _core.solve_on_device(
            (0, "float32", []),
            lambda *_: 0,
            device=0,
            stream=0,
            max_scale=2.0,
            threads=1,
            callback=None,
            **options,
        )


@pytest.mark.parametrize("form", ["whole", "by tensor"])
def test_no_large_copy_in_solve(form, emulated, no_large_copies, model):
    graph = pc.trace(model, EXAMPLE)
    g = pc.diag_g(model, EXAMPLE, graph=graph)
    _ = graph.panels
    no_large_copies(LONGEST_AXIS)
    result = pc.solve(graph, g if form == "whole" else by_tensor(graph, g))
    assert result.converged and emulated.solved == 1
    assert emulated.copied < g.nbytes / 2, "numbers per neuron, and none per parameter"


@pytest.mark.parametrize(
    "options", [{}, {"round_to": "power_of_two"}, {"strength": 0.5, "verify": False}]
)
def test_no_large_copy_in_rescale(options, emulated, no_large_copies, model):
    expected = pc.rescale(model, EXAMPLE, **options)
    played = emulated.solved
    graph = pc.trace(model, EXAMPLE)
    _ = graph.panels
    no_large_copies(LONGEST_AXIS)
    emulated.copied = 0
    report = pc.rescale_(model, EXAMPLE, graph=graph, **options)
    assert emulated.solved > played and emulated.refused == 0
    assert report.gradient_norm <= 1e-12 or options
    assert emulated.copied < 4 * sum(x.numel() for x in model.parameters()) / 2
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)


def test_large_copies_are_seen(no_large_copies):
    few, many = torch.ones(10), torch.ones(11)
    copies = {
        "cpu": lambda x: x.cpu(),
        "to": lambda x: x.to("cpu", torch.float64),
        "to a device by name": lambda x: x.to(device="cpu"),
        "numpy": lambda x: x.numpy(),
        "numpy.asarray": np.asarray,
        "tolist": lambda x: x.tolist(),
        "as_tensor": lambda x: torch.as_tensor(x, device="cpu"),
        "across devices": lambda x: x.to("meta"),
        "into a tensor elsewhere": lambda x: torch.empty_like(x, device="meta").copy_(x),
    }
    no_large_copies(10)
    for name, copy in copies.items():
        copy(few)
        copy(many.long())
        with pytest.raises(AssertionError, match="11 entries"):
            copy(many)
            pytest.fail(name)


def test_rescaling_on_a_device_is_that_on_the_host(play, model):
    on_host = pc.rescale(model, EXAMPLE)
    emulated = play(lambda x: isinstance(x, torch.Tensor))
    pc.rescale_(model, EXAMPLE)
    assert emulated.solved == 1
    for a, b in zip(model.parameters(), on_host.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_too_little_memory_leaves_everything_untouched(emulated, model):
    before = [x.detach().clone() for x in model.parameters()]
    pc.rescale(model, EXAMPLE)
    largest = emulated.largest
    for emulated.bytes_left in (0, largest - 1, largest + 1):
        with pytest.raises(pc.DeviceMemoryError):
            pc.rescale_(model, EXAMPLE)
    with pytest.raises(MemoryError):
        pc.rescale_(model, EXAMPLE)
    assert all(map(torch.equal, before, model.parameters()))
    emulated.bytes_left = float("inf")
    assert pc.rescale_(model, EXAMPLE).neurons


def test_an_exception_holds_no_memory(emulated):
    def interrupt(*_):
        raise KeyboardInterrupt

    graph = some_graph()
    with pytest.raises(KeyboardInterrupt) as caught:
        pc.solve(graph, some_weights(graph), callback=interrupt)
    assert caught.tb and emulated.pieces
    assert all(piece() is None for piece in emulated.pieces)


def test_memory_beside_g(emulated):
    """Merged weights, a few percent of that for sums over tiles, and numbers per neuron."""
    n = 400
    first, second = np.arange(n, dtype=np.int32), np.arange(n, 2 * n, dtype=np.int32)
    graph = Tensors(
        [
            ((n, 500), first.reshape(n, 1), ids(-1)),
            ((n, n, 9), second.reshape(n, 1, 1), first.reshape(n, 1)),
            ((10, n), ids(-1), second),
        ],
        2 * n,
    )
    pc.solve(graph, some_weights(graph).float())
    assert emulated.largest <= 1.04 * 8 * n * n + 400 * 2 * n
    assert emulated.on_host <= 400 * 2 * n, "numbers per neuron"


def test_cupy_arrays(cupy, play):
    graph = some_graph()
    g = some_weights(graph).numpy()
    expected = pc.solve(graph, g)
    state = play(lambda x: isinstance(x, cupy.ndarray))
    result = pc.solve(graph, cupy.asarray(g))
    assert state.solved == 1
    for found in (result.u, result.frozen, result.scales, result.v):
        assert isinstance(found, cupy.ndarray)
    assert np.abs(result.u.get() - expected.u).max() <= 1e-10
    parts = [cupy.asarray(x) for x in by_tensor(graph, g.astype(np.float32))]
    parts[0] = parts[0].astype(np.float64)
    assert np.abs(pc.solve(graph, parts).u.get() - expected.u).max() <= 1e-5
    counts = cupy.asarray(np.arange(1, len(g) + 1))
    assert pc.solve(graph, counts).converged
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16  # comes with JAX
    rounded = g.astype(bfloat16)
    found = pc.solve(graph, cupy.asarray(rounded))
    assert state.calls[-1]["dtype"] == "bfloat16"
    assert np.abs(found.u.get() - pc.solve(graph, rounded.astype(float)).u).max() <= 1e-10
    with pytest.raises(pc.InvalidInputError, match="real numbers"):
        pc.solve(graph, cupy.asarray(g.astype(complex)))
    with pytest.raises(pc.InvalidInputError, match=r"g\[0\] on CuPy device 0, g\[1\] on the host"):
        pc.solve(
            graph, [cupy.asarray(x) if i < 1 else x for i, x in enumerate(by_tensor(graph, g))]
        )
    by_matrix = pc.solve(graph.incidence(), cupy.asarray(g))
    assert isinstance(by_matrix.u, cupy.ndarray)
    assert np.abs(by_matrix.u.get() - expected.u).max() <= 1e-10


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), pc.DeviceMemoryError),
        (RuntimeError("CUDA error: out of memory"), pc.DeviceMemoryError),
        (RuntimeError("CUDA error: unspecified launch failure"), pc.DeviceError),
    ],
)
@pytest.mark.parametrize("device", [True, False])
def test_what_torch_raises_of_either_memory(raised, expected, device, monkeypatch):
    def empty(*_, **asked):
        assert ("pin_memory" in asked) is not device
        raise raised

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(expected, match=str(raised)[:20]) as caught:
        device_arrays._Torch().allocate(torch.ones(1), 8, device)
    assert type(caught.value) is expected and caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError("Out of memory allocating 8 bytes"), pc.DeviceMemoryError),
        (RuntimeError("cudaErrorMemoryAllocation: out of memory"), pc.DeviceMemoryError),
        (RuntimeError("cudaErrorLaunchFailure: unspecified launch failure"), pc.DeviceError),
    ],
)
def test_what_cupy_raises_of_pinned_memory(raised, expected, cupy, monkeypatch):
    def alloc_pinned_memory(_):
        raise raised

    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", alloc_pinned_memory, raising=False)
    like = cupy.asarray(np.ones(1))
    with pytest.raises(expected) as caught:
        device_arrays._CuPy().allocate(like, 8, False)
    assert type(caught.value) is expected and caught.value.__cause__ is raised
