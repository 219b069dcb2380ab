"""Solving by tensors, without B: the same answer as with B, for every kind of tensor."""

import dataclasses
import itertools
import weakref

import numpy as np
import pytest
import torch
from operator_zoo import OPERATORS, inputs_of
from scipy.sparse import csc_array
from zoo import ZOO, graph_of

import pathcond_native as pc
from pathcond_native import structured
from pathcond_native.engine.panels import panel
from pathcond_native.model import diag_g, trace

OPTIONS = {
    "method": "auto",
    "tolerance": None,
    "max_sweeps": None,
    "threads": 1,
    "u0": [],
    "max_scale": np.inf,
    "linear": True,
    "callback": None,
}


def gradient_norm(B, g, u):
    """max |dF/du| / p, from B."""
    kept = g > 0
    B, g = csc_array(B).astype(np.float64)[kept], g[kept].astype(np.float64)
    log_w = np.log(g) + B @ u
    w = np.exp(log_w - log_w.max())
    return np.abs(B.T @ (w / w.sum()) - B.sum(axis=0) / len(g)).max(initial=0)


def assert_same(graph, g, **options):
    B = graph.incidence()
    found, expected = pc.solve(graph, g, **options), pc.solve(B, g, **options)
    assert found.status == expected.status == "converged"
    assert found.rows == expected.rows == np.count_nonzero(g)
    assert np.array_equal(found.frozen, expected.frozen)
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    assert found.initial_objective == pytest.approx(expected.initial_objective, rel=1e-12)
    assert gradient_norm(B, g, found.u) <= 2e-12
    assert np.allclose(found.v, B @ found.u, atol=1e-12)
    if graph.panels is not None:
        parts = [g[part] for part, _ in graph.panels]
        try:
            streamed = pc.solve(graph, iter(parts), **options)
        except structured.WholeNeededError:
            assert structured.solve_graph(graph, parts, OPTIONS) is None  # not by tensors either
            return found
        assert streamed.status == "converged"
        assert (streamed.rows, streamed.merged_rows) == (found.rows, found.merged_rows)
        assert np.array_equal(streamed.frozen, found.frozen)
        assert streamed.objective == pytest.approx(expected.objective, rel=1e-12)
        assert gradient_norm(B, g, streamed.u) <= 2e-12
    return found


@pytest.mark.parametrize("name", [*ZOO, *OPERATORS])
def test_every_model_solves_without_B(name):
    if name in ZOO:
        model, inputs = ZOO[name].build(torch.float64), torch.randn(ZOO[name].inputs).double()
        graph = graph_of(name)
    else:
        model, inputs = OPERATORS[name].build(torch.float64), inputs_of(name)
        graph = trace(model, inputs)
    g = diag_g(model, inputs, graph=graph).numpy()
    if graph.shape[1] and g.any():
        assert_same(graph, g)
    g = np.random.default_rng(0).lognormal(0, 2, graph.shape[0])
    if graph.shape[1]:
        assert_same(graph, g)
        g[::3] = 0
        assert_same(graph, g)


@dataclasses.dataclass
class Tensors:
    """Any tensors: (shape, entered, left) each, as the protocol of `solve` wants them."""

    tensors: list
    neurons: int

    def __post_init__(self):
        sizes = [int(np.prod(shape)) for shape, _, _ in self.tensors]
        self.bounds = np.cumsum([0, *sizes])
        self.shape = (int(self.bounds[-1]), self.neurons)
        self.panels = [
            (slice(a, b), panel(*tensor))
            for (a, b), tensor in zip(itertools.pairwise(self.bounds), self.tensors, strict=True)
        ]

    def incidence(self):
        dense = np.zeros((self.shape[0], self.neurons), np.int8)
        for first, (shape, *sides) in zip(self.bounds, self.tensors, strict=False):
            for side, sign in zip(sides, (-1, 1), strict=True):
                ids = np.broadcast_to(side, shape).reshape(-1)
                rows = first + np.flatnonzero(ids >= 0)
                np.add.at(dense, (rows, ids[ids >= 0]), sign)
        return csc_array(dense)

    def multiply(self, u):
        return self.incidence() @ u


def ids(*values):
    return np.array(values, dtype=np.int32)


def layered(rng, order):
    """Layers of 5, 7 and 6 neurons between tensors of all kinds; `order` renames neurons."""
    a, b, c = (order[k] for k in (slice(0, 5), slice(5, 12), slice(12, 18)))
    none = ids(-1)
    shuffled = rng.permutation(b)
    return [
        ((5, 3, 2, 2), a.reshape(5, 1, 1, 1), none),  # a first convolution
        ((5,), a, none),
        ((7, 5, 3, 3), b.reshape(7, 1, 1, 1), a.reshape(5, 1, 1)),  # taps
        ((7,), b, none),
        ((5, 6, 2), c.reshape(6, 1), a.reshape(5, 1, 1)),  # transposed, skipping a layer
        ((6, 7), c.reshape(6, 1), shuffled),  # channels in another order
        ((6, 14), c.reshape(6, 1), np.tile(b, 2)),  # repeated
        ((6, 14), c.reshape(6, 1), np.repeat(b, 2)),  # flattened
        ((6, 12), c.reshape(6, 1), np.concatenate([a, b])),  # concatenated
        ((4, 6, 3), none, c.reshape(6, 1)),  # the last layer
        ((3, 3), none, none),  # nothing to rescale
        ((6, 1, 2), c.reshape(6, 1, 1), rng.choice(b, 6).reshape(6, 1, 1)),  # depthwise
        ((6, 3, 2), c.reshape(6, 1, 1), np.repeat([b[:3], b[3:6]], 3, axis=0)[:, :, None]),
        ((2, 4), ids(-1, c[0]).reshape(2, 1), ids(a[0], -1, b[1], -1)),  # some pinned
        ((1,), none, c[2:3]),
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_of_every_kind(seed, dtype):
    rng = np.random.default_rng(seed)
    order = (rng.permutation(18) if seed % 2 else np.arange(18)).astype(np.int32)
    tensors = layered(rng, order)
    kept = [tensors[k] for k in rng.permutation(len(tensors))]
    graph = Tensors(kept, 18)
    g = rng.lognormal(0, 3, graph.shape[0]).astype(dtype)
    result = assert_same(graph, g)
    again = pc.solve(graph, (g * dtype(2.0) ** -20).astype(dtype), threads=1)
    assert np.allclose(result.u, again.u, atol=1e-9)
    g[rng.random(len(g)) < 0.3] = 0
    g[np.isin(np.arange(len(g)), rng.choice(len(g), 20))] = 0
    assert_same(graph, g)
    assert_same(graph, g, method="newton")


def test_residual_streams_have_cycles_of_groups():
    stream, inner = np.arange(4, dtype=np.int32), np.arange(4, 9, dtype=np.int32)
    graph = Tensors(
        [
            ((4, 2), stream.reshape(4, 1), ids(-1)),
            ((5, 4), inner.reshape(5, 1), stream),
            ((4, 5), stream.reshape(4, 1), inner),
            ((1, 4), ids(-1), stream),
        ],
        9,
    )
    g = np.random.default_rng(1).lognormal(0, 2, graph.shape[0])
    assert_same(graph, g)


def test_a_layer_between_a_stream_and_itself_needs_B():
    """x + W x: entries of W leave and enter the same group, on the diagonal the same neuron."""
    stream = np.arange(4, dtype=np.int32)
    graph = Tensors(
        [
            ((4, 2), stream.reshape(4, 1), ids(-1)),
            ((4, 4), stream.reshape(4, 1), stream),
            ((1, 4), ids(-1), stream),
        ],
        4,
    )
    g = np.random.default_rng(1).lognormal(0, 2, graph.shape[0])
    assert_same(graph, g)


def test_the_paper_method_and_extreme_weights():
    rng = np.random.default_rng(2)
    graph = Tensors(layered(rng, np.arange(18, dtype=np.int32)), 18)
    g = rng.lognormal(0, 3, graph.shape[0])
    B = graph.incidence()
    by_tensors, by_rows = (pc.solve(form, g, method="cd") for form in (graph, B))
    assert by_tensors.sweeps == by_rows.sweeps
    np.testing.assert_allclose(by_tensors.u, by_rows.u, rtol=0, atol=1e-11)
    g = 10.0 ** rng.uniform(-300, 300, graph.shape[0])
    assert np.allclose(pc.solve(graph, g).u, pc.solve(B, g).u, atol=1e-6)
    g[:] = 1.7e308  # sums overflow
    assert_same(graph, g)


def test_threads_change_no_bit():
    """Wide enough for several tasks per tensor; the middle layers stay where they are."""
    n = 700
    layers = [np.arange(k * n, (k + 1) * n, dtype=np.int32) for k in range(3)]
    graph = Tensors(
        [
            ((n, 900), layers[0].reshape(n, 1), ids(-1)),
            ((n, n, 3), layers[1].reshape(n, 1, 1), layers[0].reshape(n, 1)),
            ((n, n), layers[2].reshape(n, 1), layers[1]),
            ((900, n), ids(-1), layers[2]),
            ((900,), ids(-1), ids(-1)),
        ],
        3 * n,
    )
    g = np.random.default_rng(0).lognormal(0, 2, graph.shape[0])
    results = [pc.solve(graph, g, threads=k) for k in (1, 2, 5)]
    assert all(np.array_equal(results[0].u, r.u) for r in results[1:])
    assert all(results[0].objective == r.objective for r in results[1:])
    assert results[0].gradient_norm <= 1e-12
    before = g.copy()
    assert pc.solve(graph, g.astype(np.float32)).converged and np.array_equal(g, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, -np.inf])
@pytest.mark.parametrize("at", [0, 37, 150, -1])
def test_an_unusable_entry_is_named(value, at):
    rng = np.random.default_rng(0)
    graph = Tensors(layered(rng, np.arange(18, dtype=np.int32)), 18)
    g = rng.random(graph.shape[0])
    g[at] = value
    with pytest.raises(pc.InvalidInputError, match=rf"g\[{at % len(g)}\] is"):
        pc.solve(graph, g)


def test_lengths_are_checked():
    graph = Tensors(layered(np.random.default_rng(0), np.arange(18, dtype=np.int32)), 18)
    with pytest.raises(pc.InvalidInputError, match="one entry per parameter of the graph"):
        pc.solve(graph, np.ones(graph.shape[0] - 1))
    with pytest.raises(pc.InvalidInputError, match="u0"):
        pc.solve(graph, np.ones(graph.shape[0]), u0=np.zeros(17))
    assert pc.solve(graph, np.zeros(graph.shape[0])).frozen.all()


def test_g_by_tensor():
    graph = Tensors(layered(np.random.default_rng(0), np.arange(18, dtype=np.int32)), 18)
    g = np.random.default_rng(1).lognormal(0, 2, graph.shape[0])
    whole = pc.solve(graph, g)
    shapes = [shape for shape, _, _ in graph.tensors]
    parts = [g[rows].reshape(s) for (rows, _), s in zip(graph.panels, shapes, strict=True)]
    assert np.array_equal(pc.solve(graph, parts).u, whole.u)
    assert np.array_equal(pc.solve(graph, tuple(map(torch.from_numpy, parts))).u, whole.u)
    assert np.array_equal(pc.solve(graph, list(g)).u, whole.u), "NumPy scalars are one array"
    with pytest.raises(pc.InvalidInputError, match="one per tensor of the graph"):
        pc.solve(graph, parts[:-1])
    parts[3][0] = np.nan
    with pytest.raises(pc.InvalidInputError, match=r"g\[\d+\] is nan"):
        pc.solve(graph, parts)


def kernels(*widths, taps=1):
    """Kernels of `taps` taps between layers of these widths, with biases."""
    first = np.cumsum([0, *widths[1:-1]])
    none, tensors = np.full(1, -1, np.int32), []
    for layer, (a, b) in enumerate(itertools.pairwise(widths)):
        entered = np.arange(b, dtype=np.int32) + first[layer]
        entered = entered if layer + 2 < len(widths) else none
        left = np.arange(a, dtype=np.int32) + first[layer - 1] if layer else none
        tensors += [
            ((b, a, taps), entered.reshape(-1, 1, 1), left.reshape(1, -1, 1)),
            ((b,), entered, none),
        ]
    return Tensors(tensors, int(first[-1]))


def test_an_iterator_is_reduced_and_dropped():
    """No more than one large tensor of g is alive at a time."""
    graph = kernels(20, 30, 40, 50, 10, taps=9)
    alive, most = set(), 0

    def parts():
        nonlocal most
        for number, (part, _) in enumerate(graph.panels):
            g = np.random.default_rng(number).lognormal(0, 1, part.stop - part.start)
            alive.add(number)
            weakref.finalize(g, alive.discard, number)
            most = max(most, len([k for k in alive if k % 2 == 0]))
            yield g
            del g

    streamed = pc.solve(graph, parts())
    assert streamed.converged
    assert most == 1
    kept = [
        np.random.default_rng(number).lognormal(0, 1, part.stop - part.start)
        for number, (part, _) in enumerate(graph.panels)
    ]
    assert np.allclose(streamed.u, pc.solve(graph, kept).u, rtol=0, atol=1e-9)


def test_an_iterator_that_does_not_fit():
    graph = kernels(3, 4, 5, 2, taps=3)
    parts = [np.ones(part.stop - part.start) for part, _ in graph.panels]
    for wrong in (parts[:-1], [*parts, np.ones(1)], [np.ones(1), *parts[1:]], []):
        with pytest.raises(pc.InvalidInputError, match="g: expected 6 arrays"):
            pc.solve(graph, iter(wrong))
    for entry in (-1.0, np.nan, np.inf):
        wrong = [x.copy() for x in parts]
        wrong[2][5] = entry
        with pytest.raises(pc.InvalidInputError, match=r"g\[2\]: entries must be finite and non-n"):
            pc.solve(graph, iter(wrong))
    wrong = [x.copy() for x in parts]
    wrong[0][:] = 1e-250
    assert pc.solve(graph, wrong).converged
    with pytest.raises(pc.InvalidInputError, match="all of g at once"):
        pc.solve(graph, iter(wrong))


@pytest.mark.parametrize("name", [name for name in ZOO if graph_of(name).panels is None])
def test_an_iterator_over_a_graph_with_products(name):
    graph = graph_of(name)
    g = np.random.default_rng(0).lognormal(0, 1, graph.shape[0])
    ends = np.cumsum([info.size for info in graph.parameters])[:-1]
    result = pc.solve(graph, iter(np.split(g, ends)))
    assert np.array_equal(result.u, pc.solve(graph, g).u)


def test_an_iterator_may_reuse_its_memory():
    graph = kernels(6, 70, 80, 4)
    parts = [
        np.random.default_rng(number).lognormal(0, 1, part.stop - part.start)
        for number, (part, _) in enumerate(graph.panels)
    ]
    memory = np.empty(max(map(len, parts)))

    def refilled():
        for part in parts:
            memory[: len(part)] = part
            yield memory[: len(part)]

    assert np.array_equal(pc.solve(graph, refilled()).u, pc.solve(graph, iter(parts)).u)


@pytest.mark.parametrize("widths", [(4, 16, 0), (0, 16, 3), (4, 16, 0, 3), (4, 16, 16, 0), (4, 3)])
def test_tensors_without_entries_or_neurons(widths):
    graph = kernels(*widths)
    g = np.ones(graph.shape[0])
    parts = [g[part] for part, _ in graph.panels]
    for given in (g, parts, iter(parts)):
        result = pc.solve(graph, given)
        assert result.converged
        assert result.rows == graph.shape[0]


def test_elements_that_are_no_arrays():
    graph = kernels(3, 4, 2)
    for wrong in ([1.0], None, "weights", 3.0):
        with pytest.raises(pc.InvalidInputError, match=r"g\[0\]: expected an array"):
            pc.solve(graph, iter([wrong]))
    with pytest.raises(pc.InvalidInputError, match="g: expected a 1-D array"):
        pc.solve(graph, torch.nn.ParameterList([torch.ones(2)]))
