"""ONE table: per ONNX operator, how channel scales pass through it and what it lifts to.

The rules are those of `model/rules.py`, for ONNX's operators.
"""

from __future__ import annotations

from . import arithmetic, layers, matmul, moving, normalisation, pooling
from .rule import ELEMENTWISE, Rule

__all__ = ["RULES"]

_RULES: dict[str, Rule] = {
    "Conv": layers.CONVOLUTION,
    "ConvTranspose": layers.TRANSPOSED_CONVOLUTION,
    "Gemm": matmul.GEMM,
    "MatMul": matmul.MATMUL,
    "BatchNormalization": normalisation.BATCH_NORM,
    "InstanceNormalization": normalisation.CHANNEL_NORM,
    "GroupNormalization": normalisation.GROUP_NORM,
    "LayerNormalization": normalisation.LAYER_NORM,
    "RMSNormalization": normalisation.LAYER_NORM,
    **dict.fromkeys(("Relu", "LeakyRelu", "Abs"), ELEMENTWISE),
    "PRelu": arithmetic.PRELU,
    "Clip": arithmetic.CLIP,
    "Dropout": arithmetic.DROPOUT,
    **dict.fromkeys(("Add", "Sub", "Sum"), arithmetic.SUM),
    "Mul": arithmetic.PRODUCT,
    "Div": arithmetic.QUOTIENT,
    "Pow": arithmetic.POWER,
    **dict.fromkeys(("Max", "Min"), arithmetic.EXTREMUM),
    "Where": arithmetic.WHERE,
    **dict.fromkeys(
        ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"), arithmetic.COMPARISON
    ),
    "Sign": arithmetic.SIGN,
    "Concat": arithmetic.CONCATENATION,
    "MaxPool": pooling.MAX_POOL,
    "GlobalMaxPool": pooling.GLOBAL_MAX,
    **dict.fromkeys(("ReduceMax", "ReduceMin"), pooling.EXTREMUM),
    "AveragePool": pooling.AVERAGE_POOL,
    "GlobalAveragePool": pooling.GLOBAL_AVERAGE,
    "ReduceMean": pooling.MEAN,
    "ReduceSum": pooling.SUM,
    "Resize": pooling.INTERPOLATION,
    "Identity": moving.SAME,
    "Neg": moving.NEGATIVE,
    "Cast": moving.CAST,
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), moving.RESHAPE),
    "Flatten": moving.FLATTEN,
    "Transpose": moving.TRANSPOSE,
    "Expand": moving.EXPAND,
    "Slice": moving.SLICE,
    "Split": moving.SPLIT,
    "Gather": moving.GATHER,
    "Tile": moving.TILE,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), moving.BLOCKS),
    "Pad": moving.PAD,
}

RULES = {f"onnx.{name}": rule for name, rule in _RULES.items()}
