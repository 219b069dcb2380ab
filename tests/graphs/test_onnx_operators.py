"""Operators of ONNX: the function under random rescalings, the neurons, and diag(G).

The oracle for diag(G) is the lifted network written as an ONNX graph and run by onnx's reference
implementation. It is linear in each squared weight tensor, so that a difference is a derivative.
"""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from operator_graphs import CASES
from small_graphs import run

from pathcond_native.onnx.rescale import graph_of, read
from pathcond_native.onnx.rules import RULES
from pathcond_native.onnx.weights import diag_g, rescaled_values


def lifted_sum(model, squares, single=False):
    """The sum of the lifted network's outputs; `single` has onnxruntime do it, in float32."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    x = np.ones((1, 2, 6, 6))
    if single:
        for tensor in twin.graph.initializer:
            tensor.raw_data = squares[tensor.name].astype(np.float32).tobytes()
        return float(run(twin, {"x": x.astype(np.float32)})[0].sum(dtype=np.float64))
    del twin.graph.initializer[:]
    for name in squares:
        twin.graph.input.add(name=name)
    return float(ReferenceEvaluator(twin).run(None, {"x": x, **squares})[0].sum())


# onnx's reference implementation knows neither groups nor all paddings of transposed convolutions,
# nor negative pads, nor, before version 1.19, automatic padding.
NO_REFERENCE = {
    *("transposed_groups", "transposed_to_a_shape", "transposed_same_upper"),
    *("conv_valid", "conv_same_upper", "conv_same_lower", "crop"),
}


@pytest.mark.parametrize("name", CASES)
def test_diag_g_is_the_derivative_of_the_lifted_network(name):
    case = CASES[name]
    network = read(case.model(), None)
    names = [x.name for x in network.program.parameters]
    found = dict(zip(names, diag_g(network, graph_of(network)), strict=True))
    lifted = case.model(lifted=True)
    squares = {
        x.name: np.square(numpy_helper.to_array(x).astype(np.float64))
        for x in lifted.graph.initializer
    }
    single = name in NO_REFERENCE
    base = lifted_sum(lifted, squares, single)
    generator = np.random.default_rng(0)
    for tensor in squares:
        for _ in range(3):
            step = generator.uniform(size=squares[tensor].shape)
            moved = lifted_sum(lifted, {**squares, tensor: squares[tensor] + step}, single)
            expected = moved - base
            if name in ("square", "power") and tensor in ("w1", "b1"):  # quadratic in these
                back = lifted_sum(lifted, {**squares, tensor: squares[tensor] - step})
                expected = (moved - back) / 2
            tolerance = 1e-4 if single else 1e-9
            np.testing.assert_allclose((found[tensor] * step).sum(), expected, rtol=tolerance)
    for parameter in found.keys() - squares.keys():
        assert not found[parameter].any()


@pytest.mark.parametrize("name", CASES)
def test_random_rescalings_by_powers_of_two_change_no_bit(name):
    case = CASES[name]
    model = case.model()
    network = read(model, None)
    graph = graph_of(network)
    assert graph.shape[1] == case.neurons
    generator = np.random.default_rng(1)
    x = {"x": generator.standard_normal((1, 2, 6, 6)).astype(np.float32)}
    before, g = run(model, x)[0], diag_g(network, graph)
    log2 = generator.integers(-3, 4, graph.shape[1]).astype(np.float64)
    for number, new, _ in list(rescaled_values(network, graph, log2, exact=True)):
        network.tensors[number].raw_data = new.tobytes()
    np.testing.assert_array_equal(run(model, x)[0], before)
    # diag(G) is that of the new weights, entry by entry.
    factors = np.exp2(2.0 * (graph.incidence().astype(np.float64) @ log2))
    expected = np.concatenate([part.reshape(-1) for part in g]) * factors
    moved = np.concatenate([part.reshape(-1) for part in diag_g(network, graph)])
    np.testing.assert_allclose(moved, expected, rtol=1e-12)


def test_the_readme_names_the_operators():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- onnx operators -->")[2].partition("<!-- /onnx operators -->")[0]
    assert [f"onnx.{name}" for name in re.findall(r"`(\w+)`", shown)] == list(RULES)
