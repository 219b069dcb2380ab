"""Every operator between two convolutions, with the number of neurons and the lifted form."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from small_graphs import graph, node, weights


@dataclass(frozen=True)
class Case:
    """x - Conv (4 channels) - Relu (h) - `nodes` - (m) - Conv - y."""

    nodes: Sequence[NodeProto]
    neurons: int
    lifted: Sequence[NodeProto] | None = None
    """Nodes of the lifted form, None where they are the same."""
    channels: int = 4
    """Of m."""
    held: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of further weights."""

    def model(self, lifted: bool = False) -> ModelProto:
        nodes = self.lifted if lifted and self.lifted is not None else self.nodes
        nodes = [
            node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
            node("Identity" if lifted else "Relu", "c1", "h"),
            *nodes,
            node("Conv", "m w2 b2", "y"),
        ]
        shapes = {"w1": (4, 2, 3, 3), "b1": (4,), "w2": (3, self.channels, 1, 1), "b2": (3,)}
        taken = {name for x in nodes for name in x.input}
        initialisers = [x for x in weights(**shapes, **self.held) if x.name in taken]
        return graph(nodes, initialisers, {"x": (1, 2, 6, 6)}, {"y": [None] * 4})


def constant(name: str, values, dtype=np.int64) -> NodeProto:
    tensor = numpy_helper.from_array(np.array(values, dtype), name)
    return helper.make_node("Constant", [], [name], name=name, value=tensor)


def number(name: str, value: float) -> NodeProto:
    return constant(name, value, np.float32)


def window(kernel: tuple[int, int], value: float = 1.0, to: str = "m", **attributes):
    """The sum over windows of h times a number, channel by channel."""
    ones = constant("window", np.full((4, 1, *kernel), value), np.float64)
    return [ones, node("Conv", "h window", to, group=4, **attributes)]


def several(kind: str, inputs: str, outputs: str, **attributes) -> NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


SAME = [node("Identity", "h", "m")]
ENDED = [constant("m", np.ones((1, 4, 6, 6)), np.float64)]

LAYERS = {
    "conv_valid": Case(
        [node("Conv", "h w", "m", auto_pad="VALID")], 9, None, 5, {"w": (5, 4, 3, 2)}
    ),
    "conv_same_upper": Case(
        [node("Conv", "h w", "m", auto_pad="SAME_UPPER", strides=[2, 2])],
        9,
        None,
        5,
        {"w": (5, 4, 3, 2)},
    ),
    "conv_same_lower": Case(
        [node("Conv", "h w", "m", auto_pad="SAME_LOWER", strides=[1, 2])],
        9,
        None,
        5,
        {"w": (5, 4, 2, 2)},
    ),
    "conv_uneven": Case(
        [node("Conv", "h w b", "m", group=2, strides=[2, 1], pads=[0, 1, 2, 0], dilations=[1, 2])],
        10,
        None,
        6,
        {"w": (6, 2, 3, 2), "b": (6,)},
    ),
    "transposed": Case(
        [node("ConvTranspose", "h w b", "m", strides=[2, 3], pads=[1, 0, 0, 2], dilations=[1, 2])],
        9,
        None,
        5,
        {"w": (4, 5, 3, 2), "b": (5,)},
    ),
    "transposed_groups": Case(
        [node("ConvTranspose", "h w", "m", strides=[2, 2], group=2, output_padding=[1, 1])],
        10,
        None,
        6,
        {"w": (4, 3, 3, 3)},
    ),
    "transposed_to_a_shape": Case(
        [node("ConvTranspose", "h w", "m", strides=[2, 2], output_shape=[12, 10])],
        9,
        None,
        5,
        {"w": (4, 5, 3, 3)},
    ),
    "transposed_same_upper": Case(
        [node("ConvTranspose", "h w", "m", strides=[2, 2], auto_pad="SAME_UPPER")],
        9,
        None,
        5,
        {"w": (4, 5, 3, 4)},
    ),
    "matmul_from_the_left": Case([node("MatMul", "w h", "m")], 2, None, 4, {"w": (5, 6)}),
    "matmul_from_the_right": Case([node("MatMul", "h w", "m")], 2, None, 4, {"w": (6, 5)}),
    "bias": Case([node("Add", "h b", "m")], 4, None, 4, {"b": (4, 1, 1)}),
    "learnt_gain": Case([node("Mul", "h s", "m")], 8, None, 4, {"s": (4, 1, 1)}),
}

POINTWISE = {
    "relu": Case([node("Relu", "h", "m")], 4, SAME),
    "leaky": Case([node("LeakyRelu", "h", "m", alpha=0.3)], 4, SAME),
    "prelu": Case([node("PRelu", "h s", "m")], 4, SAME, 4, {"s": (4, 1, 1)}),
    "clip_to_positive": Case([number("zero", 0.0), node("Clip", "h zero", "m")], 4, SAME),
    "relu6": Case(
        [number("zero", 0.0), number("six", 6.0), node("Clip", "h zero six", "m")], 0, ENDED
    ),
    "tanh": Case([node("Tanh", "h", "m")], 0, ENDED),
    "sum": Case([node("Neg", "h", "n"), node("Add", "h n", "m")], 4, [node("Add", "h h", "m")]),
    "constant_added": Case([number("c", 2.0), node("Add", "h c", "m")], 0, ENDED),
    "constant_factors": Case(
        [
            constant("c", np.full((4, 1, 1), 3.0), np.float32),
            number("d", 2.0),
            node("Mul", "h c", "p"),
            node("Div", "p d", "m"),
        ],
        4,
        [constant("f", 9 / 4, np.float64), node("Mul", "h f", "m")],
    ),
    "square": Case([node("Mul", "h h", "m")], 4),
    "power": Case([number("two", 2.0), node("Pow", "h two", "m")], 4, [node("Mul", "h h", "m")]),
    "maximum": Case([node("Neg", "h", "n"), node("Max", "h n", "m")], 4, [node("Add", "h h", "m")]),
    "where": Case(
        [number("zero", 0.0), node("Greater", "h zero", "g"), node("Where", "g h zero", "m")],
        4,
        SAME,
    ),
    "gate": Case([node("Sigmoid", "h", "g"), node("Mul", "h g", "m")], 0, SAME),
    "cast": Case(
        [node("Cast", "h", "d", to=TensorProto.DOUBLE), node("Cast", "d", "m", to=1)], 4, SAME
    ),
}

POSITIONS = {
    "max_pool": Case(
        [node("MaxPool", "h", "m", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])],
        4,
        window((3, 2), strides=[2, 1], pads=[1, 0, 1, 1]),
    ),
    "max_pool_dilated": Case(
        [node("MaxPool", "h", "m", kernel_shape=[2, 2], dilations=[3, 2])],
        4,
        window((2, 2), dilations=[3, 2]),
    ),
    "average_pool": Case(
        [
            several(
                "AveragePool", "h", "m", kernel_shape=[2, 3], pads=[1, 1, 1, 1], count_include_pad=1
            )
        ],
        4,
        window((2, 3), 1 / 36, pads=[1, 1, 1, 1]),
    ),
    "global_average": Case([node("GlobalAveragePool", "h", "m")], 4, window((6, 6), 1 / 36**2)),
    "global_max": Case([node("GlobalMaxPool", "h", "m")], 4, window((6, 6))),
    "sum_of_positions": Case(
        [constant("axes", [2, 3]), node("ReduceSum", "h axes", "m")], 4, window((6, 6))
    ),
    "mean_of_positions": Case(
        [node("ReduceMean", "h", "m", axes=[-1, 2])], 4, window((6, 6), 1 / 36**2)
    ),
    "mean_of_channels": Case(
        [node("ReduceMean", "h", "m", axes=[1])],
        1,
        [
            constant("axes", [1]),
            node("ReduceSum", "h axes", "s"),
            constant("f", 1 / 16, np.float64),
            node("Mul", "s f", "m"),
        ],
        1,
    ),
    "resize_nearest": Case(
        [
            constant("s", [1, 1, 2, 1.5], np.float32),
            helper.make_node("Resize", ["h", "", "s"], ["m"], nearest_mode="floor"),
        ],
        4,
    ),
}

MOVES = {
    "concat": Case([node("Relu", "h", "r"), several("Concat", "h r", "m", axis=1)], 4, None, 8),
    "split": Case(
        [
            constant("sizes", [1, 3]),
            several("Split", "h sizes", "s1 s2", axis=1),
            several("Concat", "s2 s1", "m", axis=1),
        ],
        4,
    ),
    "slice": Case(
        [
            constant("starts", [-1, 5]),
            constant("ends", [-10, 0]),
            constant("axes", [1, -1]),
            constant("steps", [-2, -2]),
            node("Slice", "h starts ends axes steps", "m"),
        ],
        4,
        None,
        2,
    ),
    "gather": Case([constant("i", [3, 0, 0]), node("Gather", "h i", "m", axis=1)], 4, None, 3),
    "transpose": Case(
        [
            node("Transpose", "h", "t", perm=[0, 3, 1, 2]),
            node("Transpose", "t", "m", perm=[0, 2, 3, 1]),
        ],
        4,
    ),
    "shuffle": Case(
        [
            constant("five", [0, 2, 2, 6, -1]),
            node("Reshape", "h five", "r"),
            node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]),
            constant("four", [1, 4, 6, 6]),
            node("Reshape", "t four", "m"),
        ],
        4,
    ),
    "pad_zeros": Case(
        [constant("p", [0, 1, 0, 2, 0, 2, 1, 0]), node("Pad", "h p", "m")], 7, None, 7
    ),
    "crop": Case([constant("p", [0, 0, 0, -2, 0, 0, 1, -1]), node("Pad", "h p", "m")], 4),
    "pad_reflect": Case(
        [constant("p", [0, 0, 1, 2, 0, 0, 0, 3]), node("Pad", "h p", "m", mode="reflect")], 4
    ),
    "pad_edge": Case(
        [constant("p", [0, 1, 1, 0, 0, 0, 0, 2]), node("Pad", "h p", "m", mode="edge")], 4, None, 5
    ),
    "depth_to_space": Case([node("DepthToSpace", "h", "m", blocksize=2, mode="CRD")], 1, None, 1),
    "space_to_depth": Case([node("SpaceToDepth", "h", "m", blocksize=2)], 4, None, 16),
    "tile": Case([constant("t", [1, 2, 1, 2]), node("Tile", "h t", "m")], 4, None, 8),
    "expand": Case(
        [node("GlobalMaxPool", "h", "g"), constant("e", [1, 4, 2, 3]), node("Expand", "g e", "m")],
        4,
        [*window((6, 6), to="g"), constant("e", [1, 4, 2, 3]), node("Expand", "g e", "m")],
    ),
    "squeeze": Case(
        [
            node("GlobalMaxPool", "h", "g"),
            constant("a", [3]),
            node("Squeeze", "g a", "s"),
            node("Unsqueeze", "s a", "m"),
        ],
        4,
        window((6, 6)),
    ),
}

CASES = {**LAYERS, **POINTWISE, **POSITIONS, **MOVES}
