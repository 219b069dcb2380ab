"""ONE table: per operator, how channel scales pass through it and what it lifts to.

Scales. Every entry of every tensor carries the id of a scale variable; id 0 is the scale 1. A rule
returns the ids of its output and states which ids must agree (`Scales.equal`) and which parameter
consumes and emits which ids (`Scales.weight`).

Lift. diag(G) is the derivative of the network in which parameters are squared, inputs are ones and
every operator has its lifted form (arXiv 2602.19799): the same operator for linear maps, the
identity for ReLU-like ones, a sum over the window for max pooling, squared weights for averages.

A rule that does not apply to the operands at hand raises `NoRule` before stating anything. Paths
then end at the operator, as they do at one without a rule: what goes in is pinned to the scale 1,
what comes out is a fresh input of ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from . import (
    arithmetic,
    interpolation,
    layers,
    matmul,
    moving,
    normalisation,
    pooling,
    selection,
)
from .program import Step
from .rule import ELEMENTWISE, Rule, only_if, require_static

if TYPE_CHECKING:
    from .scales import Scales

__all__ = ["FAMILIES", "RULES", "Family"]


@dataclass(frozen=True)
class Family:
    """Operators that are treated alike: their rules, and the treatment in words."""

    name: str
    scales: str
    lifted: str
    rules: dict[str, Rule]


def _aten(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


def _ranked(pattern: str, rule: Rule | Callable[[int], Rule]) -> dict[str, Rule]:
    """One operator for each number of spatial axes."""
    return {
        f"aten.{pattern.format(rank)}": rule(rank) if callable(rule) else rule for rank in (1, 2, 3)
    }


def _ranks(patterns: Iterable[str], rule: Rule | Callable[[int], Rule]) -> dict[str, Rule]:
    return {name: r for pattern in patterns for name, r in _ranked(pattern, rule).items()}


def _slopes_are_static() -> Rule:
    def scale(scales: Scales, step: Step) -> Tensor | Sequence[Tensor]:
        require_static(scales, step, "weight")
        return scales[step["self"]]

    return Rule(scale, ELEMENTWISE.lift)


def _converts_floats(step: Step) -> bool:
    return all(v.dtype.is_floating_point for v in (step["self"], step.outputs[0]))


_CAST = only_if(_converts_floats, "it converts to or from integers", moving.SAME)
_NO_ALPHA = only_if(lambda step: not step["train"], "it adds noise in training", ELEMENTWISE)
# The operand gives a shape and a dtype, not a value.
_SHAPE_ONLY = Rule(
    lambda scales, step: scales.fixed(step.outputs[0]),
    lambda lift, step: lift.ones(step.outputs[0]),
)
_BY_CHANCE = only_if(lambda step: "p" in step.arguments, "its operand is a chance", _SHAPE_ONLY)

FAMILIES: tuple[Family, ...] = (
    Family(
        "linear, bilinear, convolution",
        "inputs leave, outputs are fresh",
        "same, squared weights",
        {
            **_aten("linear", layers.LINEAR),
            **_aten("bilinear", layers.BILINEAR),
            **_ranked("conv{}d", layers.CONVOLUTION),
            **_ranked("conv_transpose{}d", layers.TRANSPOSED_CONVOLUTION),
        },
    ),
    Family(
        "matrix product",
        "with a weight as linear; by a pinned matrix the other's pass",
        "same, squared weights",
        {
            **_aten("matmul mm bmm mv", matmul.MATMUL),
            **_aten("addmm baddbmm", matmul.ADDED_MATMUL),
        },
    ),
    Family(
        "attention",
        "values pass per channel; queries and keys are pinned",
        "sum over keys",
        _aten("scaled_dot_product_attention", matmul.ATTENTION),
    ),
    Family("embedding", "fresh", "sum of all squared rows", _aten("embedding", layers.EMBEDDING)),
    Family(
        "batch norm, trained statistics",
        "input pinned, affine fresh",
        "(x + μ²)·γ²/s² + β²",
        {
            **_aten("batch_norm", normalisation.EITHER_BATCH_NORM),
            **_aten("_native_batch_norm_legit_no_training", normalisation.BATCH_NORM),
        },
    ),
    Family(
        "layer, group, instance, RMS norm; batch norm of the batch",
        "input pinned, affine fresh",
        "γ² + β²",
        {
            **_aten(
                "layer_norm native_layer_norm rms_norm _fused_rms_norm", normalisation.LAYER_NORM
            ),
            **_aten(
                "group_norm native_group_norm _native_batch_norm_legit "
                "_native_batch_norm_legit_functional",
                normalisation.CHANNEL_NORM,
            ),
            **_aten("instance_norm", normalisation.INSTANCE_NORM),
        },
    ),
    Family(
        "ReLU and relatives, dropout",
        "pass",
        "same",
        {
            **_aten("relu leaky_relu rrelu rrelu_with_noise_functional abs", ELEMENTWISE),
            **_aten("prelu _prelu_kernel", _slopes_are_static()),
            **_aten("clamp clamp_min clamp_max", selection.CLAMP),
            **_aten("threshold", selection.THRESHOLD),
            **_aten("dropout native_dropout feature_dropout", ELEMENTWISE),
            **_aten("alpha_dropout feature_alpha_dropout", _NO_ALPHA),
        },
    ),
    Family(
        "choice between tensors",
        "options agree; 0 goes with any",
        "sum of options",
        {
            **_aten("maximum minimum fmax fmin", selection.EXTREMUM),
            **_aten("where", selection.WHERE),
            **_aten("masked_fill", selection.MASKED_FILL),
        },
    ),
    Family(
        "comparison, sign",
        "operands agree; 0 goes with any",
        "ones",
        {
            **_aten("gt ge lt le eq ne", selection.COMPARISON),
            **_aten("sign", selection.SIGN),
        },
    ),
    Family(
        "max pooling, max and min over positions",
        "positions agree",
        "sum over window",
        {
            **_ranks(["max_pool{}d", "max_pool{}d_with_indices"], pooling.max_pool),
            **_ranked("adaptive_max_pool{}d", pooling.adaptive_max_pool),
            **_aten("amax amin max min", pooling.EXTREMUM),
        },
    ),
    Family(
        "average pooling, mean",
        "positions agree",
        "sum over window / n²",
        {
            **_ranked("avg_pool{}d", pooling.average_pool),
            **_ranked("adaptive_avg_pool{}d", pooling.adaptive_average_pool),
            **_aten("_adaptive_avg_pool2d", pooling.adaptive_average_pool(2)),
            **_aten("_adaptive_avg_pool3d", pooling.adaptive_average_pool(3)),
            **_aten("mean", pooling.MEAN),
        },
    ),
    Family(
        "sum over positions, cumulative sum",
        "positions agree",
        "same",
        {**_aten("sum", pooling.SUM), **_aten("cumsum", pooling.CUMULATIVE_SUM)},
    ),
    Family(
        "interpolation",
        "positions agree",
        "squared interpolation weights",
        _aten(
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
            "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d "
            "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
            "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
            interpolation.INTERPOLATION,
        ),
    ),
    Family(
        "sum of tensors",
        "operands agree; a constant pins",
        "sum, squared factors",
        {
            **_aten("add sub rsub", arithmetic.SUM),
            **_aten("addcmul", arithmetic.ADDED_PRODUCT),
        },
    ),
    Family(
        "product of tensors, constant factors, powers",
        "exponents add",
        "product, squared factors",
        {
            **_aten("mul", arithmetic.PRODUCT),
            **_aten("div", arithmetic.QUOTIENT),
            **_aten("pow", arithmetic.POWER),
            **_aten("square", arithmetic.SQUARE),
            **_aten("_weight_norm _weight_norm_interface", arithmetic.WEIGHT_NORM),
        },
    ),
    Family(
        "gated linear unit",
        "first half passes, gate pinned",
        "first half",
        _aten("glu", arithmetic.GATED_LINEAR),
    ),
    Family(
        "joining and splitting",
        "move",
        "same",
        {
            **_aten("cat", arithmetic.CONCATENATION),
            **_aten("stack", arithmetic.STACK),
            **_aten("slice_scatter", arithmetic.OVERWRITING),
            **_aten("split split_with_sizes chunk tensor_split unbind slice", moving.ONE_AXIS),
            **_aten("narrow", moving.ONE_AXIS),
            **_aten("select", moving.ONE_AXIS),
            **_aten("index", moving.INDEX),
            **_aten("index_select", moving.SELECT),
        },
    ),
    Family(
        "shape and order",
        "move",
        "same",
        {
            **_aten("alias clone contiguous detach neg", moving.SAME),
            **_aten("to _to_copy", _CAST),
            **_aten(
                "view _unsafe_view reshape flatten unflatten squeeze unsqueeze", moving.RESHAPE
            ),
            **_aten("expand", moving.EXPAND),
            **_aten("copy", moving.COPY),
            **_aten("permute", moving.PERMUTE),
            **_aten("transpose", moving.TRANSPOSE),
            **_aten("t", moving.MATRIX_TRANSPOSE),
            **_aten("repeat tile", moving.REPEAT),
            **_aten("repeat_interleave", moving.ONE_AXIS),
            **_aten("roll flip rot90", moving.SOME_AXES),
            **_aten("pixel_shuffle pixel_unshuffle", moving.PIXELS),
            **_aten("channel_shuffle", moving.CHANNELS),
            **_aten("diagonal", moving.DIAGONAL),
            **_aten("unfold", moving.UNFOLD),
            **_aten("im2col", moving.IM2COL),
        },
    ),
    Family(
        "padding",
        "move; zeros go with any",
        "same",
        {
            **_aten("pad constant_pad_nd", moving.PAD),
            **_ranks(["reflection_pad{}d", "replication_pad{}d"], moving.PAD),
        },
    ),
    Family(
        "random numbers",
        "1",
        "ones",
        {
            **_aten("empty_like rand_like randn_like new_empty", _SHAPE_ONLY),
            **_aten("bernoulli", _BY_CHANCE),
        },
    ),
)

RULES: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.rules.items()}
