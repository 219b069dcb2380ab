"""ONE table: per aten operator, how channel scales pass through it and what it lifts to.

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

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from . import arithmetic, compressed, layers, pooling
from .program import Step, Value
from .rule import Rule, moves, only_if, require_static

if TYPE_CHECKING:
    from .groups import Scales

__all__ = ["RULES"]

_RANKS = (1, 2, 3)


def _reshape(step: Step, x: Tensor) -> Tensor:
    return compressed.reshape(x, step["self"].shape, step.outputs[0].shape)


def _bounded_by_zero(step: Step) -> bool:
    """A clamp commutes with positive scales only if its bounds are 0 or absent."""
    bounds = [step.arguments.get(name) for name in ("min", "max")]
    return all(bound is None or (not isinstance(bound, Value) and bound == 0) for bound in bounds)


def _slopes_are_static() -> Rule:
    def scale(scales: Scales, step: Step) -> Tensor:
        require_static(scales, step, "weight")
        return _RELU.scale(scales, step)

    return Rule(scale, _RELU.lift)


_SAME = moves(lambda _, x: x)
# A path keeps its weight through a ReLU, but a ReLU of a parameter is not that parameter.
_RELU = replace(_SAME, moves=False)
_DROPOUT = replace(moves(lambda _, x: x, "input"), moves=False)
_PRELU = _slopes_are_static()
_CLAMP = only_if(_bounded_by_zero, "its bounds are not 0", _RELU)
_THRESHOLD = only_if(
    lambda step: step["threshold"] == 0 and step["value"] == 0,
    "its threshold or value is not 0",
    _RELU,
)
_CAST = only_if(
    lambda step: step["self"].dtype.is_floating_point and step.outputs[0].dtype.is_floating_point,
    "it converts to or from integers",
    _RELU,
)
_RESHAPE = moves(_reshape)
_EXPAND = moves(lambda step, x: compressed.lead(x, len(step.outputs[0].shape)))
# The operand gives a shape and a dtype, not a value.
_SHAPE_ONLY = Rule(
    lambda scales, step: scales.fixed(step.outputs[0]),
    lambda lift, step: lift.ones(step.outputs[0]),
)

RULES: dict[str, Rule] = {
    "aten.linear": layers.LINEAR,
    **{f"aten.conv{rank}d": layers.CONVOLUTION for rank in _RANKS},
    **{f"aten.conv_transpose{rank}d": layers.TRANSPOSED_CONVOLUTION for rank in _RANKS},
    "aten._native_batch_norm_legit_no_training": layers.BATCH_NORM,
    "aten.relu": _RELU,
    "aten.leaky_relu": _RELU,
    "aten.rrelu_with_noise_functional": _RELU,
    "aten.prelu": _PRELU,
    "aten._prelu_kernel": _PRELU,
    "aten.clamp": _CLAMP,
    "aten.clamp_min": _CLAMP,
    "aten.clamp_max": _CLAMP,
    "aten.threshold": _THRESHOLD,
    "aten.dropout": _DROPOUT,
    "aten.native_dropout": _DROPOUT,
    "aten.alias": _SAME,
    "aten.clone": _SAME,
    "aten.contiguous": _SAME,
    "aten.detach": _SAME,
    "aten.neg": _SAME,
    "aten._to_copy": _CAST,
    "aten.view": _RESHAPE,
    "aten._unsafe_view": _RESHAPE,
    "aten.reshape": _RESHAPE,
    "aten.flatten": _RESHAPE,
    "aten.unflatten": _RESHAPE,
    "aten.squeeze": _RESHAPE,
    "aten.unsqueeze": _RESHAPE,
    "aten.expand": _EXPAND,
    "aten.permute": moves(lambda step, x: x.permute(step["dims"])),
    "aten.transpose": moves(lambda step, x: x.transpose(step["dim0"], step["dim1"])),
    "aten.t": moves(lambda _, x: x.t()),
    **{f"aten.max_pool{rank}d": pooling.max_pool(rank) for rank in _RANKS},
    **{f"aten.max_pool{rank}d_with_indices": pooling.max_pool(rank) for rank in _RANKS},
    **{f"aten.avg_pool{rank}d": pooling.average_pool(rank) for rank in _RANKS},
    **{f"aten.adaptive_max_pool{rank}d": pooling.adaptive_max_pool(rank) for rank in _RANKS},
    **{f"aten.adaptive_avg_pool{rank}d": pooling.adaptive_average_pool(rank) for rank in _RANKS},
    **{f"aten._adaptive_avg_pool{rank}d": pooling.adaptive_average_pool(rank) for rank in _RANKS},
    "aten.mean": pooling.MEAN,
    "aten.sum": pooling.SUM,
    "aten.add": arithmetic.SUM,
    "aten.sub": arithmetic.SUM,
    "aten.cat": arithmetic.CONCATENATION,
    "aten.mul": arithmetic.PRODUCT,
    "aten.div": arithmetic.QUOTIENT,
    "aten.empty_like": _SHAPE_ONLY,
    "aten.zeros_like": _SHAPE_ONLY,
    "aten.ones_like": _SHAPE_ONLY,
    "aten.full_like": _SHAPE_ONLY,
    "aten.new_empty": _SHAPE_ONLY,
    "aten.new_zeros": _SHAPE_ONLY,
    "aten.new_ones": _SHAPE_ONLY,
    "aten.new_full": _SHAPE_ONLY,
}
