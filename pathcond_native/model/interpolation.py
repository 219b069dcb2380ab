"""Rules of interpolation: a linear map per axis, lifted with its weights squared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .pooling import apply_matrices
from .program import Step
from .rule import Rule

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["INTERPOLATION"]


def _argument(step: Step) -> str:
    return "input" if "input" in step.arguments else "self"


def _weights(step: Step, axis: int) -> Tensor:
    """The map along one axis, (out, in): the operator's own response to each unit vector.

    The map is a product over axes, and along the others weights add up to 1.
    """
    x, arguments = step[_argument(step)], dict(step.arguments)
    n, others = x.shape[axis], {a: 1 for a in range(2, len(x.shape)) if a != axis}
    # Two entries along the other axes: antialiasing goes wrong with one.
    if arguments.get("output_size") is not None:
        sizes = arguments["output_size"]
        arguments["output_size"] = [s if a == axis else 2 for a, s in enumerate(sizes, 2)]
    else:
        factors = arguments["scale_factors"]
        others = {a: math.ceil(2 / factors[a - 2]) + 1 for a in others}
    shape = [n, 1] + [others.get(a, n) for a in range(2, len(x.shape))]
    along = [n, 1] + [n if a == axis else 1 for a in range(2, len(shape))]
    basis = torch.eye(n, dtype=torch.float64).reshape(along).expand(shape)
    response = Step(step.op, "", "", arguments, ()).call({x.index: basis})
    assert isinstance(response, Tensor)
    first = [0 if a not in (0, axis) else slice(None) for a in range(len(shape))]
    return response[tuple(first)].T


def _scale(scales: Scales, step: Step) -> Tensor:
    x = step[_argument(step)]
    return scales.uniform(scales[x], range(2, len(x.shape)))


def _lift(lift: Lift, step: Step) -> Scaled:
    x = step[_argument(step)]
    axes = range(2, len(x.shape))
    return apply_matrices(lift, x, {axis: _weights(step, axis).square() for axis in axes})


INTERPOLATION = Rule(_scale, _lift)
