"""What graphs may hold that a careless rescaling would harm."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graphs import convolutions, graph, mlp, moved, node, run, weights

import pathcond_native as pc
from pathcond_native import onnx as graphs

X = {"x": np.random.default_rng(2).standard_normal((1, 4)).astype(np.float32)}


def copied(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def rescaled(model, feeds=X, **options):
    """The report, and how far the outputs moved; verification is left to this test."""
    before = copied(model)
    report = pc.rescale_onnx(model, {k: v.shape for k, v in feeds.items()}, verify=False, **options)
    return report, moved(before, model, feeds)


def chain(*middle, held, opset=17, **options):
    """Four inputs, hidden layers of 4, three outputs, around the nodes from r1 to m."""
    nodes = [
        node("MatMul", "x w1", "h1"),
        node("Relu", "h1", "r1"),
        *middle,
        node("MatMul", "m w3", "y"),
    ]
    initialisers = weights(w1=(4, 4), **held, w3=(4, 3))
    return graph(nodes, initialisers, {"x": (1, 4)}, {"y": (1, 3)}, opset=opset, **options)


def test_a_weight_used_twice_is_scaled_for_both_uses_or_not_at_all():
    again = [node("MatMul", "r1 w2", "h2"), node("Relu", "h2", "r2"), node("MatMul", "r2 w2", "m")]
    report, change = rescaled(chain(*again, held={"w2": (4, 4)}))
    assert 0 < report.neurons < 12 and 0 < change <= 1e-6
    ends = [node("Tanh", "r1", "t1"), node("MatMul", "t1 w2", "h2"), node("Tanh", "h2", "t2")]
    report, change = rescaled(chain(*ends, node("MatMul", "t2 w2", "m"), held={"w2": (4, 4)}))
    assert report.neurons == 0 and change == 0.0


def test_a_weight_and_its_transpose_are_one_parameter():
    tied = [
        node("MatMul", "r1 w2", "h2"),
        node("Relu", "h2", "r2"),
        node("Transpose", "w2", "t", perm=[1, 0]),
        node("MatMul", "r2 t", "m"),
    ]
    report, change = rescaled(chain(*tied, held={"w2": (4, 5)}))
    assert change <= 1e-6 and report.neurons >= 5


def test_zeros_that_layers_share_go_with_any_scale():
    model = chain(
        node("Gemm", "r1 w2 zero", "h2"),
        node("Relu", "h2", "r2"),
        node("Gemm", "r2 w4 zero", "h4"),
        node("Add", "h4 zero", "m"),
        held={"w2": (4, 4), "w4": (4, 4)},
    )
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "zero"))
    report, change = rescaled(model)
    assert report.neurons == 12 and 0 < change <= 1e-6


def branches(opset=17):
    """An If whose branches take a weight and a value from outside."""
    then, other = (
        helper.make_graph(
            [node("MatMul", f"r1 {weight}", f"{weight}_out")],
            weight,
            [],
            [helper.make_tensor_value_info(f"{weight}_out", TensorProto.FLOAT, (1, 4))],
        )
        for weight in ("w2", "w4")
    )
    true = numpy_helper.from_array(np.array(True), "true")
    middle = [
        helper.make_node("Constant", [], ["true"], value=true),
        helper.make_node("If", ["true"], ["i"], then_branch=then, else_branch=other),
        node("Relu", "i", "m"),
    ]
    return chain(*middle, held={"w2": (4, 4), "w4": (4, 4)}, opset=opset)


def test_what_branches_take_from_outside_stays():
    model = branches()
    before = {x.name: x.raw_data for x in model.graph.initializer}
    report, change = rescaled(model)
    assert change <= 1e-6
    after = {x.name: x.raw_data for x in model.graph.initializer}
    assert {name for name in before if before[name] != after[name]} == set()
    assert "onnx.If" in {x.operator for x in report.unsupported}


def test_a_loop_ends_paths():
    body = helper.make_graph(
        [
            node("MatMul", "state w2", "next"),
            helper.make_node("Identity", ["go"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, (1, 4)),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, (1, 4)),
        ],
    )
    n = helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array(2)))
    true = helper.make_node("Constant", [], ["go0"], value=numpy_helper.from_array(np.array(True)))
    loop = helper.make_node("Loop", ["n", "go0", "r1"], ["m"], body=body)
    model = chain(n, true, loop, held={"w2": (4, 4)})
    report, change = rescaled(model)
    assert change == 0.0 and report.neurons == 0


def test_local_functions_are_looked_into():
    square = helper.make_function(
        "mine",
        "Layer",
        ["a", "w"],
        ["b"],
        [node("MatMul", "a w", "c"), node("Relu", "c", "b")],
        [helper.make_opsetid("", 17)],
    )
    nodes = [helper.make_node("Layer", ["r1", "w2"], ["m"], domain="mine")]
    model = chain(*nodes, held={"w2": (4, 4)}, domains=[helper.make_opsetid("mine", 1)])
    model.functions.append(square)
    functions = model.functions[0].SerializeToString()
    report, change = rescaled(model)
    assert report.neurons == 8 and 0 < change <= 1e-6
    assert model.functions[0].SerializeToString() == functions


def test_operators_of_other_domains_end_paths():
    middle = [
        node("MatMul", "r1 w2", "h2"),
        helper.make_node("QuickGelu", ["h2"], ["q"], domain="com.microsoft"),
        node("MatMul", "q w4", "m4"),
        node("Relu", "m4", "m"),
    ]
    held = {"w2": (4, 4), "w4": (4, 4)}
    model = chain(*middle, held=held, domains=[helper.make_opsetid("com.microsoft", 1)])
    report, change = rescaled(model)
    assert report.neurons == 8 and change <= 1e-6  # before w2, and after the operator
    assert [x.operator for x in report.unsupported] == ["com.microsoft.QuickGelu"]


def test_initialisers_that_are_inputs_or_outputs_too():
    model = mlp(batch=1, ir_version=3)
    for tensor in model.graph.initializer:  # as before version 4 they had to be
        info = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims))
        model.graph.input.append(info)
    report, change = rescaled(model)
    assert report.neurons == 11 and 0 < change <= 1e-6
    model = mlp(batch=1)
    model.graph.output.append(helper.make_tensor_value_info("w2", TensorProto.FLOAT, (5, 6)))
    before = model.graph.initializer[2].raw_data
    report, change = rescaled(model)
    assert change <= 1e-6 and model.graph.initializer[2].raw_data == before


def test_numbers_statistics_and_bounds_are_no_parameters():
    model = chain(
        node("BatchNormalization", "r1 g b mean var", "n"),
        node("Mul", "n half", "s"),
        node("Relu", "s", "m"),
        held={"g": (4,), "b": (4,), "mean": (4,)},
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.arange(1, 5, dtype=np.float32), "var"),
            numpy_helper.from_array(np.float32(0.5), "half"),
        ]
    )
    names = {x.name for x in graphs.trace(model).parameters}
    assert names == {"w1", "g", "b", "w3"}
    report, change = rescaled(model)
    assert report.neurons == 4 and change <= 1e-6
    assert report.objective < report.initial_objective


def test_a_second_rescaling_changes_nothing_more():
    model = convolutions()
    pc.rescale_onnx(model)
    once = {x.name: numpy_helper.to_array(x).copy() for x in model.graph.initializer}
    report = pc.rescale_onnx(model)
    assert max(g.farthest for g in report.groups) - 1 < 1e-5
    for x in model.graph.initializer:
        np.testing.assert_allclose(numpy_helper.to_array(x), once[x.name], rtol=1e-5)


def test_the_optimum_does_not_depend_on_how_a_graph_came_scaled():
    first, second = mlp(), mlp()
    powers = np.exp2(np.random.default_rng(3).integers(-6, 7, 5).astype(np.float32))
    values = {x.name: x for x in second.graph.initializer}
    for name, factor in (("w1", powers[:, None]), ("b1", powers), ("w2", 1 / powers[:, None])):
        scaled = numpy_helper.to_array(values[name]) * factor
        values[name].raw_data = scaled.astype(np.float32).tobytes()
    for model in (first, second):
        pc.rescale_onnx(model)
    for a, b in zip(first.graph.initializer, second.graph.initializer, strict=True):
        np.testing.assert_allclose(
            numpy_helper.to_array(a), numpy_helper.to_array(b), rtol=2e-6, atol=1e-12
        )


def test_scales_far_out_of_range_are_found():
    """Weights whose squares, and whose products, leave float64."""
    model = mlp()
    for name, power in (("w1", 1e-30), ("w2", 1e-35), ("w3", 1e-37), ("b1", 1e-30), ("b2", 1e-37)):
        tensor = next(x for x in model.graph.initializer if x.name == name)
        small = numpy_helper.to_array(tensor).astype(np.float64) * power
        tensor.raw_data = small.astype(np.float32).tobytes()
    report = pc.rescale_onnx(model, verify=False)
    assert np.isfinite(report.objective) and report.gradient_norm <= 1e-12


def amplifying():
    """Differences of nearly equal numbers: rounding a weight moves the output by more than 1e-5."""
    model = mlp(batch=1)
    values = {x.name: x for x in model.graph.initializer}
    b3 = numpy_helper.to_array(values["b3"])
    outputs = run(model, {"x": np.zeros((1, 4), np.float32)})[0][0]
    # Away from 0 the input hardly matters, and what is left at 0 is rounding.
    values["b3"].raw_data = (b3 - outputs).astype(np.float32).tobytes()
    first = numpy_helper.to_array(values["w1"]) * 1e-4
    values["w1"].raw_data = first.astype(np.float32).tobytes()
    return model


def test_rounding_is_told_from_a_change():
    report = pc.rescale_onnx(amplifying())
    assert report.verification.proven_in_float64 and report.max_relative_error > 1e-5
    module = sys.modules["pathcond_native.onnx.rescale"]
    real = module.rescaled_values

    def wrong(network, graph, log2, exact):
        changed = list(real(network, graph, log2, exact))
        return [(k, new if k != 4 else new * np.float32(1.001), n) for k, new, n in changed]

    model = amplifying()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "rescaled_values", wrong)
        with pytest.raises(pc.VerificationError, match="rescaling changed output 'y'"):
            pc.rescale_onnx(model)
    assert model == amplifying()


def test_strength_and_bounds():
    model = convolutions()
    report = pc.rescale_onnx(model, max_scale=1.5, strength=0.5)
    assert max(g.farthest for g in report.groups) <= 1.5 and report.held > 0
    before = convolutions()
    pc.rescale_onnx(before, strength=0.0)
    assert before == convolutions()
