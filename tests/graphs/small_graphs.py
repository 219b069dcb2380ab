"""ONNX graphs written by hand, as a user's files may have them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def weights(seed=0, dtype=np.float32, **shapes):
    """Initialisers of standard normal numbers, by name."""
    generator = np.random.default_rng(seed)
    return [
        numpy_helper.from_array(generator.standard_normal(shape).astype(dtype), name)
        for name, shape in shapes.items()
    ]


def graph(nodes, initialisers, inputs, outputs, *, opset=17, dtype=TensorProto.FLOAT, **options):
    """A model; inputs and outputs are name -> shape, where a string is an open dimension."""
    ends = [
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in values.items()]
        for values in (inputs, outputs)
    ]
    return helper.make_model(
        helper.make_graph(nodes, "net", *ends, initializer=initialisers),
        opset_imports=[helper.make_opsetid("", opset), *options.get("domains", [])],
        ir_version=options.get("ir_version", 8),
    )


def node(kind, inputs, output, **attributes):
    """A node of one output, which is its name."""
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def mlp(batch="N", **options):
    """Gemm - Relu - MatMul and Add - Relu - Gemm, of 5 and 6 neurons."""
    return graph(
        [
            node("Gemm", "x w1 b1", "h1", transB=1),
            node("Relu", "h1", "r1"),
            node("MatMul", "r1 w2", "m2"),
            node("Add", "m2 b2", "h2"),
            node("Relu", "h2", "r2"),
            node("Gemm", "r2 w3 b3", "y"),
        ],
        weights(w1=(5, 4), b1=(5,), w2=(5, 6), b2=(6,), w3=(6, 3), b3=(3,)),
        {"x": (batch, 4)},
        {"y": (batch, 3)},
        **options,
    )


def convolutions(**options):
    """Two convolutions, the second depthwise, around pooling, to a classifier: 14 neurons."""
    return graph(
        [
            node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
            node("Relu", "c1", "r1"),
            node("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", "p1 w2 b2", "c2", group=6),
            node("LeakyRelu", "c2", "r2", alpha=0.1),
            node("Conv", "r2 w3", "c3"),
            node("Relu", "c3", "r3"),
            node("GlobalAveragePool", "r3", "g"),
            node("Flatten", "g", "f"),
            node("Gemm", "f w4 b4", "y"),
        ],
        weights(
            w1=(6, 2, 3, 3), b1=(6,), w2=(6, 1, 2, 2), b2=(6,), w3=(2, 6, 1, 1), w4=(2, 3), b4=(3,)
        ),
        {"x": ("N", 2, 8, 8)},
        {"y": ("N", 3)},
        **options,
    )


def run(model, feeds):
    """What onnxruntime computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def moved(before, after, feeds):
    """The largest change of an output, relative to its largest entry."""
    pairs = zip(run(before, feeds), run(after, feeds), strict=True)
    return max(float(np.abs(b - a).max() / np.abs(a).max()) for a, b in pairs)
