"""Neurons, pins and the incidence matrix."""

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, Net, graph_of, mlp

from pathcond_native.errors import InvalidInputError, TraceError
from pathcond_native.model import trace

CONV_3_8_12_6_4 = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 12, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(12, 6),
    nn.ReLU(),
    nn.Linear(6, 4),
)


@pytest.mark.parametrize("name", ZOO)
def test_neurons_are_counted_exactly(name):
    case, graph = ZOO[name], graph_of(name)
    assert len(graph.neurons) == case.neurons
    assert tuple(x.operator for x in graph.unsupported) == case.unsupported
    assert sum(group.size for group in graph.groups) == case.neurons
    assert all(x.reason and x.where and x.channels > 0 for x in graph.pinned)


@pytest.mark.parametrize("name", ZOO)
def test_incidence_is_canonical(name):
    case, graph = ZOO[name], graph_of(name)
    B = graph.incidence()
    assert B.shape == graph.shape == (sum(x.size for x in graph.parameters), case.neurons)
    assert B.dtype == np.int8
    assert B.indptr.dtype == B.indices.dtype == np.int32
    dense = B.toarray()
    assert B.nnz == np.count_nonzero(dense)
    for j in range(B.shape[1]):
        column = B.indices[B.indptr[j] : B.indptr[j + 1]]
        assert len(column) and (np.diff(column) > 0).all()
    assert (np.abs(dense).sum(1) <= 3).all()


@pytest.mark.parametrize(
    ("name", "model", "inputs"),
    [
        ("mlp_20_32_16_24_5", mlp(20, 32, 16, 24, 5), (1, 20)),
        ("conv_3_8_12_6_4", CONV_3_8_12_6_4, (1, 3, 8, 8)),
    ],
)
def test_incidence_equals_the_reference(name, model, inputs, reference):
    B = trace(model, torch.randn(inputs)).incidence()
    expected = reference(name)
    np.testing.assert_array_equal(B.indptr, expected["indptr"])
    np.testing.assert_array_equal(B.indices, expected["indices"])
    np.testing.assert_array_equal(B.data, expected["signs"])


def test_neurons_are_named_in_network_order():
    graph = trace(mlp(4, 3, 2, 1), torch.randn(1, 4))
    assert [neuron.name for neuron in graph.neurons] == ["0[0]", "0[1]", "0[2]", "2[0]", "2[1]"]
    assert [(x.where, x.channels, x.reason) for x in graph.pinned] == [("4", 1, "model output")]


def test_pins_say_why():
    reasons = {x.where: x.reason for x in graph_of("tanh").pinned}
    assert "aten.tanh" in reasons["b"]
    norm = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    reasons = {x.where: x.reason for x in trace(norm, torch.randn(2, 2, 4)).pinned}
    assert "training mode" in reasons["0"]
    assert "model output" in reasons["1"]


@pytest.mark.parametrize("kind", ["tensor", "tuple", "list", "dict"])
def test_example_inputs_come_in_four_forms(kind):
    model = Net(lambda s, x: s.b(s.a(x).relu()), a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    x = torch.randn(2, 4)
    inputs = {"tensor": x, "tuple": (x,), "list": [x], "dict": {"x": x}}[kind]
    assert len(trace(model, inputs).neurons) == 5


@pytest.mark.parametrize(
    "inputs", [None, 3, "x", np.zeros((2, 4)), (), {}, (3,), {1: 2}, [np.ones(3)]]
)
def test_unusable_example_inputs(inputs):
    with pytest.raises(InvalidInputError, match="example_inputs: expected a tensor"):
        trace(nn.Linear(4, 3), inputs)


def test_unusable_models():
    with pytest.raises(InvalidInputError, match=r"torch\.nn\.Module, got str"):
        trace("model", torch.randn(2, 4))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="uninitialised"):
        trace(nn.LazyLinear(3), torch.randn(2, 4))


def test_data_dependent_control_flow_is_refused_with_a_remedy():
    model = Net(lambda s, x: s.a(x) if x.sum() > 0 else x, a=nn.Linear(4, 4))
    model.train()
    with pytest.raises(TraceError, match="Move that decision out"):
        trace(model, torch.randn(2, 4))
    assert all(module.training for module in model.modules())


def test_wrong_shapes_are_a_trace_error():
    with pytest.raises(TraceError, match="could not be traced"):
        trace(nn.Linear(4, 3), torch.randn(2, 5))


def test_meta_models_can_be_traced():
    with torch.device("meta"):
        model = mlp(4, 5, 3)
    assert len(trace(model, torch.randn(2, 4, device="meta")).neurons) == 5


def test_mixed_training_flags_survive():
    model = mlp(4, 5, 6, 3).train()
    model[2].eval()
    flags = [module.training for module in model.modules()]
    trace(model, torch.randn(2, 4))
    assert [module.training for module in model.modules()] == flags
