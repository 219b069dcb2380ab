"""`register_rule`: rules for operators that the package does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InvalidInputError
from .program import Step
from .rule import ELEMENTWISE, Rule
from .rules import RULES

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["register_rule"]


def register_rule(
    op: Any,
    *,
    scale: Callable[[Scales, Step], Tensor | Sequence[Tensor]] | None = None,
    lift: Callable[[Lift, Step], Scaled | Sequence[Scaled]] | None = None,
) -> None:
    """Tell how channel scales pass through an operator, and what it lifts to.

    Without `scale` and `lift` the operator is taken to act on its first tensor argument entry by
    entry and to be positively homogeneous, f(λx) = λ f(x) for λ > 0, as ReLU is::

        register_rule("mylib::soft_threshold_free_relu")

    Otherwise give both. ``step["name"]`` is an argument of the operator, ``step.outputs`` holds
    its outputs. `scale` returns the scale ids of the output: an int64 tensor of the output's rank
    in which an axis along which all ids agree has size 1. ``scales[value]`` are the ids of an
    argument, ``scales.fixed(value)`` those of the scale 1, ``scales.uniform(ids, axes)`` states
    that ids agree along axes, ``scales.equal(a, b, reason)`` that two tensors of ids agree, and
    ``scales.pin(ids, reason)`` that they are 1. `lift` returns the lifted output, which has to be
    multilinear: ``lift[value]`` is a lifted argument, ``lift.full(value, axes)`` one with the axes
    stored in full, ``lift.ones(value)`` a fresh input, ``.map(f)`` applies a linear function.
    A mean over the last axis, for one::

        register_rule(
            "mylib::last_mean",
            scale=lambda scales, step: scales.uniform(scales[step["x"]], [-1])[..., 0],
            lift=lambda lift, step: lift.full(step["x"], [-1]).map(
                lambda x: x.sum(-1) / x.shape[-1] ** 2
            ),
        )

    A rule raises `pathcond_native.model.NoRule` with a reason, before it states anything, for
    arguments it does not apply to. A wrong rule gives a wrong rescaling: `rescale_` verifies the
    outputs and restores the model if they change.

    Args:
        op: "namespace::name", a ``torch.ops`` operator, or what ``torch.library.custom_op`` yields.
        scale, lift: the two halves of the rule. They replace a rule that is already there.

    Raises:
        InvalidInputError: `op` is no operator, or only one half of the rule was given.
    """
    if (scale is None) != (lift is None):
        raise InvalidInputError("scale, lift: expected both or neither")
    rule = ELEMENTWISE if scale is None or lift is None else Rule(scale, lift)
    RULES[_name(op)] = rule


def _name(op: Any) -> str:
    if isinstance(op, torch._ops.OpOverload):
        op = op._schema.name
    elif isinstance(op, torch._ops.OpOverloadPacket):
        op = op._qualified_op_name
    elif not isinstance(op, str):
        op = getattr(op, "_qualname", None)
    if not isinstance(op, str) or op.count("::") != 1:
        raise InvalidInputError(
            f"op: expected 'namespace::name', a torch.ops operator or a custom operator, got {op!r}"
        )
    return op.partition(".")[0].replace("::", ".")
