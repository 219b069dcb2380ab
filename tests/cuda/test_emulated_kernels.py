"""The kernels of the CUDA backend, run on the host, against the CPU backend."""

import dataclasses
from itertools import pairwise

import numpy as np
import problems
import pytest
import torch
from operator_zoo import OPERATORS, inputs_of
from test_model_panels import Tensors, gradient_norm, ids, layered
from test_model_trace import CONV_3_8_12_6_4
from zoo import ZOO, graph_of, mlp

import pathcond_native as pc
from pathcond_native.model import trace

SAME = 1e-10
"""Absolute, on u, both backends having been asked for SHARP, and F being curved."""
SHARP = 1e-14
"""Tolerance near the rounding of the gradient: the two may have got there by other methods."""


def assert_same(graph, g, emulated, same=SAME, **options):
    """Solves on the host and on the played device, in both orders of its blocks and threads."""
    on_host = (g.float() if g.dtype == torch.bfloat16 else g).numpy()
    expected = pc.solve(graph, on_host, **options)
    before, found = emulated.solved, {}
    for emulated.late in (False, True):
        found[emulated.late] = pc.solve(graph, g, **options)
    assert emulated.solved == before + 2
    result, reversed_ = found[False], found[True]
    assert torch.equal(result.u, reversed_.u), "the order of blocks and threads must not matter"
    assert np.array_equal(result.history, reversed_.history)
    assert (result.status, result.sweeps) == (expected.status, expected.sweeps)
    assert (result.rows, result.merged_rows) == (expected.rows, expected.merged_rows)
    assert np.array_equal(result.frozen.numpy(), np.asarray(expected.frozen))
    assert result.objective == pytest.approx(expected.objective, rel=1e-12)
    assert result.initial_objective == pytest.approx(expected.initial_objective, rel=1e-12)
    if same is not None:
        sharp = [pc.solve(graph, x, tol=SHARP, **options) for x in (g, on_host)]
        assert np.abs(sharp[0].u.numpy() - np.asarray(sharp[1].u)).max(initial=0) <= same
    return result


def weights(graph, seed=0, sigma=2.0, dtype=torch.float64):
    g = np.random.default_rng(seed).lognormal(0, sigma, graph.shape[0])
    return torch.from_numpy(g).to(dtype)


@pytest.mark.parametrize("max_scale", [1.05, 2.0, 50.0])
def test_bounded_scales(max_scale, emulated):
    graph = trace(mlp(20, 32, 16, 24, 5), torch.ones(1, 20))
    result = assert_same(graph, weights(graph), emulated, max_scale=max_scale)
    assert result.converged
    assert float(result.scales.max()) <= max_scale


@pytest.mark.parametrize("method", ["auto", "newton", "cd"])
@pytest.mark.parametrize("dead", [False, True])
def test_balanced_squares(method, dead, emulated):
    model = mlp(20, 32, 16, 24, 5)
    if dead:
        with torch.no_grad():
            model[2].weight[3] = 0
            model[2].bias[3] = 0
    graph = trace(model, torch.ones(1, 20))
    g = torch.cat([x.detach().reshape(-1).double() ** 2 for x in model.parameters()])
    options = {"max_sweeps": 3} if method == "cd" else {}
    result = assert_same(graph, g, emulated, criterion="enorm", method=method, **options)
    assert torch.nonzero(result.frozen).flatten().tolist() == ([35] if dead else [])


@pytest.mark.parametrize(
    ("name", "model", "inputs"),
    [
        ("mlp_20_32_16_24_5", mlp(20, 32, 16, 24, 5), (1, 20)),
        ("conv_3_8_12_6_4", CONV_3_8_12_6_4, (1, 3, 8, 8)),
    ],
)
def test_the_reference_problems(name, model, inputs, emulated):
    _, data = problems.reference(name)
    graph = trace(model, torch.ones(inputs))
    result = assert_same(graph, torch.from_numpy(data["g"]), emulated)
    assert np.abs(result.u.numpy() - data["u_optimal"]).max() <= 1e-8


@pytest.mark.parametrize("name", [*ZOO, *OPERATORS])
def test_every_model(name, emulated):
    if name in ZOO:
        model, inputs = ZOO[name].build(torch.float64), torch.randn(ZOO[name].inputs).double()
        graph = graph_of(name)
    else:
        model, inputs = OPERATORS[name].build(torch.float64), inputs_of(name)
        graph = trace(model, inputs)
    if graph.panels is None or not graph.shape[1]:
        pytest.skip("products of channels, or nothing to rescale")
    g = weights(graph)
    assert_same(graph, g, emulated)
    g[::3] = 0
    assert_same(graph, g, emulated, same=None)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_of_every_kind(seed, dtype, emulated):
    rng = np.random.default_rng(seed)
    order = (rng.permutation(18) if seed % 2 else np.arange(18)).astype(np.int32)
    tensors = layered(rng, order)
    graph = Tensors([tensors[k] for k in rng.permutation(len(tensors))], 18)
    g = weights(graph, seed, 3, dtype)
    assert_same(graph, g, emulated)
    assert_same(graph, g, emulated, method="newton")
    g[torch.rand(len(g), generator=torch.Generator().manual_seed(seed)) < 0.3] = 0
    assert_same(graph, g, emulated)


def as_tensors(monkeypatch, problem, seed):
    """A graph of `problems.network` tensor by tensor."""

    def network(widths, edges=None, taps=1):
        edges = list(pairwise(range(len(widths)))) if edges is None else edges
        begin = np.cumsum([0, *widths[1:-1]])
        nodes = [None, *(begin[n - 1] + np.arange(widths[n]) for n in range(1, len(widths) - 1))]
        nodes.append(None)
        tensors = []
        for a, b in edges:
            left = ids(-1) if nodes[a] is None else ids(*nodes[a])
            entered = ids(-1) if nodes[b] is None else ids(*nodes[b])
            tensors += [
                ((widths[b], widths[a], taps), entered.reshape(-1, 1, 1), left.reshape(-1, 1)),
                ((widths[b],), entered, ids(-1)),
            ]
        return Tensors(tensors, int(begin[-1]))

    monkeypatch.setattr(problems, "network", network)
    return problem(np.random.default_rng(seed))


NETWORKS = (
    problems.layered,
    problems.layered_kernels,
    problems.deep,
    problems.deep_kernels,
    problems.skips,
    problems.residual_stream,
    problems.residual_stages,
)


@pytest.mark.parametrize("weight", problems.WEIGHTS)
@pytest.mark.parametrize("problem", NETWORKS)
def test_networks_and_weights(problem, weight, emulated, monkeypatch):
    """Residual streams, skips, 60 layers; weights over 30 decades, pruned ones."""
    graph = as_tensors(monkeypatch, problem, 0)
    layer = np.concatenate([np.full(b - a, i) for i, (a, b) in enumerate(pairwise(graph.bounds))])
    g = torch.from_numpy(weight(np.random.default_rng(1), layer))
    mild = weight is problems.mild
    result = assert_same(graph, g, emulated, same=SAME if mild else None)
    assert result.converged
    assert gradient_norm(graph.incidence(), g.numpy(), result.u.numpy()) <= 2e-12


def test_absorbed_weights(emulated, monkeypatch):
    """u goes beyond the range of doubles: weights take it into themselves, sparse ones too."""
    graph = as_tensors(monkeypatch, problems.deep, 0)
    g = weights(graph)
    far = np.where(np.arange(graph.shape[1]) % 2, 400.0, -400.0)
    assert_same(graph, g, emulated, same=None, u0=far)
    chain = np.arange(12, dtype=np.int32)
    depthwise = Tensors(
        [
            ((12, 3), chain.reshape(12, 1), ids(-1)),
            ((12, 1, 3, 3), (12 + chain).reshape(12, 1, 1, 1), chain.reshape(12, 1, 1, 1)),
            ((5, 12), ids(-1), 12 + chain),
        ],
        24,
    )
    far = np.repeat([300.0, -300.0], 12)
    assert_same(depthwise, weights(depthwise), emulated, same=None, u0=far)
    assert_same(depthwise, weights(depthwise), emulated, same=None, u0=far, method="newton")


LARGE = {
    "many tiles of a matrix that is borrowed": [
        ((130, 300), 0, None),
        ((200, 130), 1, 0),
        ((4, 200), None, 1),
    ],
    "a long first layer": [((7, 9001), 0, None), ((3, 7), None, 0)],
    "a wide last layer": [((600, 5), 0, None), ((900, 600), None, 0)],
    "kernels of nine taps": [((70, 5, 9), 0, None), ((81, 70, 9), 1, 0), ((4, 81), None, 1)],
    "even kernels": [((40, 5, 16), 0, None), ((81, 40, 16), 1, 0), ((4, 81, 16), None, 1)],
    "flattened positions": [((65, 4, 9), 0, None), ((90, 65, 49), 1, 0), ((4, 90), None, 1)],
    "one number of many": [((20000,), None, None), ((9, 5), 0, None), ((3, 9), None, 0)],
    "biases": [((5000,), 0, None), ((5000, 2), 0, None), ((3, 5000), None, 0)],
    "one neuron": [((1, 6000), 0, None), ((6000, 1), None, 0)],
    "one tap of many": [((3, 2, 5000), 0, None), ((6, 3, 5000), 1, 0), ((2, 6), None, 1)],
    "two tensors between the same layers": [
        ((30, 5), 0, None),
        ((70, 30), 1, 0),
        ((70, 30, 9), 1, 0),
        ((70, 30), 1, 0),
        ((4, 70), None, 1),
    ],
}


def built(tensors):
    """Neurons of layers, numbered in order, for (shape, layer entered, layer left)."""
    sizes = {}
    for shape, entered, left in tensors:
        sizes |= {entered: shape[0], left: shape[1] if len(shape) > 1 else 1}
    sizes.pop(None, None)
    begin = np.cumsum([0, *(sizes[k] for k in sorted(sizes))])

    def side(layer, axis, rank):
        if layer is None:
            return ids(-1)
        neurons = np.arange(begin[layer], begin[layer + 1], dtype=np.int32)
        return neurons.reshape(-1, *[1] * (rank - 1 - axis))

    return Tensors(
        [(shape, side(e, 0, len(shape)), side(a, 1, len(shape))) for shape, e, a in tensors],
        int(begin[-1]),
    )


@dataclasses.dataclass
class Turned(Tensors):
    """The same, with the axes of every tensor in the reverse order in memory."""

    def __post_init__(self):
        self.tensors = [
            (
                shape[::-1],
                *(np.broadcast_to(x, (1,) * (len(shape) - x.ndim) + x.shape).T for x in sides),
            )
            for shape, *sides in self.tensors
        ]
        super().__post_init__()


@pytest.mark.parametrize("kind", [Tensors, Turned])
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_many_tiles(name, kind, dtype, emulated):
    straight = built(LARGE[name])
    graph = kind(straight.tensors, straight.shape[1])
    g = weights(graph, dtype=dtype)
    assert_same(graph, g, emulated)
    g[::7] = 0
    assert_same(graph, g, emulated)


def test_no_neuron_and_no_weight(emulated):
    nothing = Tensors([((3, 3), ids(-1), ids(-1))], 0)
    assert pc.solve(nothing, torch.ones(9)).converged
    graph = built(LARGE["biases"])
    result = assert_same(graph, torch.zeros(graph.shape[0]), emulated)
    assert result.frozen.all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, -np.inf])
@pytest.mark.parametrize("at", [0, 37, 150, -1])
def test_an_unusable_entry_is_named(value, at, emulated):
    graph = Tensors(layered(np.random.default_rng(0), np.arange(18, dtype=np.int32)), 18)
    g = weights(graph)
    g[at] = value
    with pytest.raises(pc.InvalidInputError, match=rf"g\[{at % len(g)}\] is"):
        pc.solve(graph, g)
    assert emulated.refused == 1
