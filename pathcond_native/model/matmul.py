"""Rules of matrix products: with a weight, or of positions with positions (attention)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import compressed
from .program import Step, Value
from .rule import NoRule, Rule

if TYPE_CHECKING:
    from .lift import Lift
    from .scaled import Scaled
    from .scales import Scales

__all__ = ["ADDED_MATMUL", "ATTENTION", "MATMUL"]


def _operands(step: Step) -> tuple[Value, Value]:
    for first, second in (("batch1", "batch2"), ("mat1", "mat2")):
        if first in step.arguments:
            return step[first], step[second]
    second = next(name for name in ("other", "mat2", "vec") if name in step.arguments)
    return step["self"], step[second]


def _rank(step: Step) -> int:
    return max(2, *(len(v.shape) for v in _operands(step)))


def _matrix(x: Tensor, rank: int, left: bool) -> Tensor:
    """With `rank` axes: a vector is a row on the left, a column on the right."""
    if x.dim() == 1:
        x = x.unsqueeze(0 if left else 1)
    return compressed.lead(x, rank)


def _result(step: Step, x: Tensor) -> Tensor:
    """Without the axes that stand for a vector."""
    a, b = _operands(step)
    x = x.squeeze(-2) if len(a.shape) == 1 else x
    return x.squeeze(-1) if len(b.shape) == 1 else x


def _by_weight(scales: Scales, step: Step, left: bool) -> Tensor:
    """One operand is a weight of shape (..., k, n); on the left it is the transposed case."""
    rank = _rank(step)
    weight, x = _operands(step) if left else _operands(step)[::-1]
    shape = list(weight.shape)
    if len(shape) == 1:
        shape.insert(0 if left else 1, 1)
    laid = [1] * (rank - len(shape)) + shape
    ids = _matrix(scales[x], rank, not left)
    if left:
        laid[-2:] = laid[:-3:-1]
        ids = ids.transpose(-1, -2)
    shared = [axis for axis in range(rank - 2) if laid[axis] == 1]
    consumed = scales.uniform(ids, [*shared, rank - 2]).transpose(-1, -2)
    out = [*laid[:-2], 1, laid[-1]]
    emitted = scales.fresh(step, weight, torch.Size(out).numel()).reshape(out)

    def in_place(x: Tensor) -> Tensor:
        x = x.transpose(-1, -2) if left else x
        if len(weight.shape) == 1:
            x = x.squeeze(-2 if left else -1)
        return x.reshape(x.shape[x.dim() - len(weight.shape) :])

    scales.weight(step, weight, in_place(emitted), in_place(consumed))
    return _result(step, emitted.transpose(-1, -2) if left else emitted)


def _matmul_scale(scales: Scales, step: Step) -> Tensor:
    a, b = _operands(step)
    rank = _rank(step)
    static = [scales.is_static(v) for v in (a, b)]
    if all(static):
        raise NoRule("it multiplies two parameters")
    if any(static):
        return _by_weight(scales, step, left=static[0])
    if scales.is_one(b):
        ids = scales.uniform(_matrix(scales[a], rank, left=True), [rank - 1])
    else:
        scales.pin_value(a, f"decides the weights of {step.place}")
        ids = scales.uniform(_matrix(scales[b], rank, left=False), [rank - 2])
    return _result(step, ids)


def _matmul_lift(lift: Lift, step: Step) -> Scaled:
    a, b = _operands(step)
    x = lift.full(a, [len(a.shape) - 1])
    y = lift.full(b, [max(0, len(b.shape) - 2)])
    rank = _rank(step)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return _result(step, _matrix(x, rank, left=True) @ _matrix(y, rank, left=False))

    return lift.tape.product(product, x, y)


def _added_scale(scales: Scales, step: Step) -> Tensor:
    if scales.is_constant(step["self"]):
        raise NoRule("a constant is added")
    ids = _matmul_scale(scales, step)
    return scales.equal(ids, scales[step["self"]], f"{step.place}: the other operand is pinned")


def _added_lift(lift: Lift, step: Step) -> Scaled:
    factors = [float(step.arguments.get(name, 1)) ** 2 for name in ("alpha", "beta")]
    product = _matmul_lift(lift, step).map(lambda x: x * factors[0])
    return product + lift[step["self"]].map(lambda x: x * factors[1])


def _heads(step: Step, x: Tensor) -> Tensor:
    """Heads of the values that several query heads share are repeated."""
    heads = step.outputs[0].shape[-3] if x.dim() > 2 else 1
    if x.dim() < 3 or x.shape[-3] in (1, heads):
        return x
    return x.repeat_interleave(heads // x.shape[-3], -3)


def _attention_scale(scales: Scales, step: Step) -> Tensor:
    for name in ("query", "key", "attn_mask"):
        if isinstance(step[name], Value):
            scales.pin_value(step[name], f"decides the weights of {step.place}")
    value = step["value"]
    return _heads(step, scales.uniform(scales[value], [len(value.shape) - 2]))


def _attention_lift(lift: Lift, step: Step) -> Scaled:
    """Every path from a key's value to a query exists; the weights themselves are no path."""
    value = step["value"]
    full = lift.full(value, [len(value.shape) - 2])
    return full.map(lambda x: _heads(step, x.sum(-2, keepdim=True)))


MATMUL = Rule(_matmul_scale, _matmul_lift)
ADDED_MATMUL = Rule(_added_scale, _added_lift)
ATTENTION = Rule(_attention_scale, _attention_lift)
