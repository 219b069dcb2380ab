"""The engine for ONNX graphs against the one for PyTorch, on the graphs that torch exports."""

import numpy as np
import pytest
import torch
from exported_graphs import exported
from onnx import numpy_helper
from operator_zoo import OPERATORS
from torch import nn
from zoo import ZOO, trained

import pathcond_native as pc
from pathcond_native import onnx as graphs
from pathcond_native.onnx.rescale import graph_of, read
from pathcond_native.onnx.weights import diag_g

CASES = {**ZOO, **OPERATORS}
# Models whose exported graph has the operators and weights that the module has.
SAME = [
    *("mlp", "mlp_on_sequences", "linear_linear", "conv_pool_flatten", "conv_avg_flatten"),
    *("norm2d", "norm3d", "residual", "residual_stream", "grouped", "branches", "leaky"),
    *("linear_on_positions", "dropout", "double_add", "scaled", "clamp_at_zero", "broadcast_sum"),
    *("reversed_fold", "tanh", "relu6", "softmax", "plus_one", "square", "power", "layer_norm"),
    *("reused", "tied", "transposed_weight", "raw_parameter", "split", "slice", "select", "stack"),
    *("pad_zeros", "pad_channels", "joined_zeros", "pad_reflect", "pad_circular", "repeat"),
    *("index", "pixel_shuffle", "pixel_unshuffle", "permute", "nearest", "bilinear", "max_and_min"),
    *("sum", "squeeze_excite", "convolutions", "convolutions_3d", "gated_residual"),
]


def built(name, dtype=torch.float32):
    case = CASES[name]
    return trained(case.build(dtype)).eval(), torch.randn(case.inputs, dtype=dtype)


def rows_by_name(graph):
    return {x.name: slice(x.offset, x.offset + x.size) for x in graph.parameters}


@pytest.mark.parametrize("name", SAME)
def test_neurons_and_diag_g_are_those_of_the_module(name):
    model, x = built(name)
    traced, network = pc.trace(model, x), read(exported(model, x), None)
    graph = graph_of(network)
    rows, own = rows_by_name(traced), rows_by_name(graph)
    assert rows.keys() == own.keys()
    B, mine = (g.incidence().toarray() for g in (traced, graph))
    order = [rows[name] for name in own]
    theirs = np.concatenate([B[part] for part in order]) if order else B
    # The same neurons, in whatever order.
    assert sorted(map(bytes, theirs.T.copy())) == sorted(map(bytes, mine.T.copy()))
    g = pc.diag_g(model, x, graph=traced).numpy()
    expected = np.concatenate([g[part] for part in order])
    found = np.concatenate([part.reshape(-1) for part in diag_g(network, graph)])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("criterion", ["pathcond", "enorm", "cle"])
@pytest.mark.parametrize("name", ["residual", "grouped", "norm2d", "square", "transposed_weight"])
def test_weights_become_those_of_the_module(name, criterion):
    model, x = built(name)
    graph = exported(model, x)
    report = graphs.rescale(graph, {graph.graph.input[0].name: x.numpy()}, criterion=criterion)
    expected = pc.rescale_(model, x, criterion=criterion)
    assert report.max_relative_error <= 1e-5
    assert report.neurons == expected.neurons
    if criterion != "cle":
        np.testing.assert_allclose(report.objective, expected.objective, rtol=1e-9)
    values = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(values[name], parameter.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
def test_every_opset_gives_the_same(opset):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )
    model, x = trained(model).eval(), torch.randn(2, 2, 9, 9)
    graph = exported(model, x, opset=opset)
    assert graph.opset_import[0].version == opset
    report = graphs.rescale(graph)
    expected = pc.rescale_(model, x)
    assert report.neurons == expected.neurons == 11
    np.testing.assert_allclose(report.objective, expected.objective, rtol=1e-9)


def test_folded_batch_norms_are_rescaled_too():
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 4, 3))
    trained(model)
    folded, plain = (exported(model, torch.randn(1, 3, 8, 8), fold=fold) for fold in (True, False))
    kinds = [{node.op_type for node in graph.graph.node} for graph in (folded, plain)]
    assert ["BatchNormalization" in kind for kind in kinds] == [False, True]
    assert [graphs.rescale(graph).neurons for graph in (folded, plain)] == [7, 7]


def test_an_embedding_is_a_layer():
    model, tokens = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4)), torch.tensor([[1, 2, 0]])
    network = read(exported(model, tokens), None)
    graph = graph_of(network)
    assert graph.shape == (9 * 6 + 6 * 4 + 4, 6)
    expected = pc.diag_g(model, tokens).numpy()
    found = np.concatenate([part.reshape(-1) for part in diag_g(network, graph)])
    rows, own = rows_by_name(pc.trace(model, tokens)), rows_by_name(graph)
    for name in rows:
        np.testing.assert_allclose(found[own[name]], expected[rows[name]], rtol=1e-10)
