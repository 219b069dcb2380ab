"""Rules of matrix products: with a weight, or of positions with positions (attention)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..engine.facts import Ids
from ..engine.program import Step, Value
from ..engine.rule import NoRule, require_static
from ..engine.shapes import lead
from .rule import AnyArray, Rule
from .tape import Array, Scaled, as_stored

if TYPE_CHECKING:
    from .lift import Lift
    from .scales import Scales

__all__ = ["GEMM", "MATMUL"]


def _matrix(x: AnyArray, rank: int, left: bool) -> AnyArray:
    """With `rank` axes: a vector is a row on the left, a column on the right."""
    if x.ndim == 1:
        x = x.reshape((1, -1) if left else (-1, 1))
    return lead(x, rank)


def _result(step: Step, x: AnyArray) -> AnyArray:
    """Without the axes that stand for a vector."""
    x = x.squeeze(-2) if len(step["A"].shape) == 1 else x
    return x.squeeze(-1) if len(step["B"].shape) == 1 else x


def _rank(step: Step) -> int:
    return max(2, len(step["A"].shape), len(step["B"].shape))


def _by_weight(scales: Scales, step: Step, left: bool) -> Ids:
    """One operand is a weight of shape (..., k, n); on the left it is the transposed case."""
    rank = _rank(step)
    weight, x = (step["A"], step["B"]) if left else (step["B"], step["A"])
    shape = list(weight.shape)
    if len(shape) == 1:
        shape.insert(0 if left else 1, 1)
    laid = [1] * (rank - len(shape)) + shape
    ids = _matrix(scales[x], rank, not left)
    if left:
        laid[-2:] = laid[:-3:-1]
        ids = ids.swapaxes(-1, -2)
    shared = [axis for axis in range(rank - 2) if laid[axis] == 1]
    consumed = scales.uniform(ids, [*shared, rank - 2]).swapaxes(-1, -2)
    out = [*laid[:-2], 1, laid[-1]]
    emitted = scales.fresh(step, weight, int(np.prod(out))).reshape(out)

    def in_place(x: Ids) -> Ids:
        x = x.swapaxes(-1, -2) if left else x
        if len(weight.shape) == 1:
            x = x.squeeze(-2 if left else -1)
        return x.reshape(x.shape[x.ndim - len(weight.shape) :])

    scales.weight(step, weight, in_place(emitted), in_place(consumed))
    return _result(step, emitted.swapaxes(-1, -2) if left else emitted)


def _matmul_scale(scales: Scales, step: Step) -> Ids:
    a, b = step["A"], step["B"]
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
    a, b = step["A"], step["B"]
    x = lift.full(a, [len(a.shape) - 1])
    y = lift.full(b, [max(0, len(b.shape) - 2)])
    rank = _rank(step)

    def opened(gradient: Array) -> Array:
        gradient = np.expand_dims(gradient, -1) if len(b.shape) == 1 else gradient
        return np.expand_dims(gradient, -2) if len(a.shape) == 1 else gradient

    def to_x(gradient: Array, y: Array) -> Array:
        full = opened(gradient) @ _matrix(y, rank, left=False).swapaxes(-1, -2)
        return as_stored(full, _matrix(x.value, rank, True).shape).reshape(x.value.shape)

    def to_y(gradient: Array, x: Array) -> Array:
        full = _matrix(x, rank, left=True).swapaxes(-1, -2) @ opened(gradient)
        return as_stored(full, _matrix(y.value, rank, False).shape).reshape(y.value.shape)

    def product(x: Array, y: Array) -> Array:
        return _result(step, _matrix(x, rank, True) @ _matrix(y, rank, False))

    return lift.tape.product(product, x, y, to_x, to_y)


def _is_row(c: Value, n: int) -> bool:
    """Whether an addend is a bias per channel."""
    return c.shape[-1:] == (n,) and int(np.prod(c.shape)) == n


def _gemm_scale(scales: Scales, step: Step) -> Ids:
    """alpha · A B + beta · C, with A and B transposed on demand."""
    a, weight, c = step["A"], step["B"], step["C"]
    require_static(scales, step, "B")
    if scales.is_static(a):
        raise NoRule("it multiplies two parameters")
    if c is not None and scales.is_constant(c) and not scales.is_zero(c):
        raise NoRule("a constant is added")
    ids = scales[a].T if step["transA"] else scales[a]
    consumed = scales.uniform(ids, [0]).reshape(-1, 1)
    n = step.outputs[0].shape[1]
    emitted = scales.fresh(step, weight, n).reshape(1, -1)
    if step["transB"]:
        scales.weight(step, weight, emitted.T, consumed.T)
    else:
        scales.weight(step, weight, emitted, consumed)
    if c is None or scales.is_zero(c):
        return emitted
    if scales.is_static(c) and _is_row(c, n):
        scales.bias(step, c, lead(emitted.reshape(-1), len(c.shape)))
        return emitted
    return scales.equal(emitted, scales[c], f"{step.place}: the other operand is pinned")


def _gemm_lift(lift: Lift, step: Step) -> Scaled:
    a, weight, c = step["A"], step["B"], step["C"]
    x, w = lift.full(a, [0 if step["transA"] else 1]), lift.full(weight, range(2))
    alpha, beta = (float(step[name]) ** 2 for name in ("alpha", "beta"))

    def laid(t: Array, name: str) -> Array:
        return t.T if step[name] else t

    def to_weight(gradient: Array, x: Array) -> Array:
        rows = laid(x, "transA")  # in the weight's own order, which is how it is read afterwards
        return alpha * (gradient.T @ rows if step["transB"] else rows.T @ gradient)

    y = lift.tape.product(
        lambda x, w: alpha * (laid(x, "transA") @ laid(w, "transB")),
        x,
        w,
        lambda g, w: alpha * laid(g @ laid(w, "transB").T, "transA"),
        to_weight,
    )
    if c is None:
        return y
    return lift.tape.add([y, lift[c].map(lambda t: t * beta, lambda g: g * beta)])


MATMUL = Rule(_matmul_scale, _matmul_lift)
GEMM = Rule(_gemm_scale, _gemm_lift)
