"""Tensors with a power of two beside them, and reverse-mode derivatives that never leave range.

A `Scaled` stands for value · 2^exponent. Every operation here is linear in each operand, so the
exponents of operands add, and the derivative with respect to one operand carries the exponents of
the others. Both passes renormalise as they go: depth and weight scale cannot overflow them. What
may not fit the range of a narrow dtype is entries of one tensor that lie far apart: a guarded tape
looks at the smallest entry of every tensor, and raises where a product of two could vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import _core
from .lent import Lent
from .repeats import Repeat

__all__ = [
    "Scaled",
    "Tape",
    "TooWideError",
    "extremes",
    "magnitudes",
    "normalise",
    "seen_by_numpy",
    "shift",
]

_LARGEST_STEP = 120  # 2^±120 is a normal number in float32 and float64
_HEADROOM = 12  # normalised exponents stay below 1/12 of the largest: products of a few fit
_VANISHED = -2200  # below the square of the smallest float64: nothing survives the shift
_ZERO = -(10**9)  # exponent of a tensor of zeros: it never decides a common exponent
_LEAST = 2.0**-100  # of a product of entries: leaves room for further factors, as of averages


class TooWideError(ArithmeticError):
    """Entries lie too far apart for the dtype of the computation."""


def shift(x: Tensor, exponent: int) -> Tensor:
    """x · 2^exponent for any exponent, rounding only where the result leaves the range."""
    if not exponent:
        return x
    if exponent < _VANISHED:
        return torch.zeros_like(x)
    exponent = min(exponent, -_VANISHED)  # only 0 does not overflow there
    sign = 1 if exponent > 0 else -1
    steps, rest = divmod(abs(exponent), _LARGEST_STEP)
    for step in [_LARGEST_STEP] * steps + [rest]:
        x = x * math.ldexp(1.0, sign * step)
    return x


def seen_by_numpy(x: Tensor) -> npt.NDArray[Any]:
    """A tensor in memory as an array, without a copy; unlike `Tensor.numpy`, which forbids its
    storage to be resized ever after, it leaves no trace."""
    return np.from_dlpack(x.detach())


def extremes(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest entry, 0 if there is none; waits for a device once."""
    if x.numel() == 0:
        return 0.0, 0.0
    low, high = x.aminmax()
    if x.device.type == "cpu":
        return float(low), float(high)
    low, high = torch.stack((low, high)).tolist()
    return low, high


def magnitudes(x: Tensor, guarded: bool = True) -> tuple[float, float]:
    """The smallest |x| other than 0, infinity if there is none or it is not `guarded`; the largest.

    One pass on the CPU; the largest is NaN or infinite if an entry is.
    """
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.is_contiguous():
        return _core.magnitudes(seen_by_numpy(x), torch.get_num_threads())
    low, high = extremes(x)
    if not guarded or (low == high == 0.0):
        return math.inf, max(-low, high)
    smallest = low if low > 0.0 else float(x.masked_fill(x == 0, math.inf).abs().amin())
    return smallest, max(-low, high)


def normalise(x: Tensor, exponent: int) -> tuple[Tensor, int]:
    """The same number x · 2^exponent with max|x| well inside the range of the dtype."""
    _, largest = magnitudes(x, guarded=False)
    if largest == 0.0:
        return x, _ZERO
    size = _too_large(largest, x.dtype)
    return shift(x, -size), exponent + size


def _too_large(x: float, dtype: torch.dtype, power: int = 1) -> int:
    """The exponent of x, if x^power is not well inside the range; 0 if it is, or not finite."""
    size = math.frexp(x)[1] if math.isfinite(x) else 0
    return size if abs(power * size) > math.frexp(torch.finfo(dtype).max)[1] // _HEADROOM else 0


@dataclass(eq=False)
class Scaled:
    """A tensor value · 2^exponent on a tape."""

    value: Tensor
    exponent: int
    tape: Tape
    differentiable: bool = False
    smallest: float = math.inf
    """The smallest |value| that is not 0, where the tape is guarded."""
    gradient: Scaled | None = None
    ready: Callable[[Tensor, int], None] | None = None
    uses: int = 0
    """Operations whose derivatives are still to come."""
    repeats: Mapping[int, Repeat] = field(default_factory=dict)
    """Axes of `value` with an entry that stands for several."""

    def with_repeats(self, repeats: Mapping[int, Repeat]) -> Scaled:
        """The same value, stored with these repeats."""
        self.repeats = repeats
        return self

    def used(self) -> None:
        """One use is differentiated; after the last one, what was wanted is handed over."""
        self.uses -= 1
        if self.uses == 0:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the derivative to who wanted it, and forget it."""
        if self.ready is not None and self.gradient is not None:
            gradient, self.gradient = self.gradient, None
            self.value = self.value.new_empty(0)
            self.ready(gradient.value, gradient.exponent)

    def map(self, f: Callable[[Tensor], Tensor]) -> Scaled:
        """f(self), for a linear f."""
        return self.tape.product(f, self)

    def __add__(self, other: Scaled) -> Scaled:
        return self.tape.combine(lambda xs: xs[0] + xs[1], [self, other])


class Tape:
    """Records operations on `Scaled` tensors and replays them backward.

    A `guarded` one raises `TooWideError` where an entry other than 0 could become 0 or lose digits.
    Values that are `lent` have entries only while an operation on them runs, forward or backward.
    """

    def __init__(self, guarded: bool = False) -> None:
        self.lent = Lent()
        self._guarded = guarded
        self._replays: list[Callable[[], None]] = []
        self._variables: list[Scaled] = []

    def constant(self, value: Tensor, exponent: int = 0) -> Scaled:
        """A tensor without a derivative."""
        return self._scaled(value, exponent)

    def square(self, root: Tensor) -> Scaled:
        """root², without a derivative; the root stays as it is."""
        smallest, largest = magnitudes(root, self._guarded)
        half = _too_large(largest, root.dtype, power=2)
        smallest = math.ldexp(smallest, -half)
        smallest *= smallest  # may be infinite
        if self._guarded and smallest < torch.finfo(root.dtype).tiny:
            raise TooWideError
        exponent = 2 * half if largest else _ZERO
        return Scaled(shift(root, -half).square(), exponent, self, False, smallest)

    def _scaled(self, value: Tensor, exponent: int, differentiable: bool = False) -> Scaled:
        smallest, largest = magnitudes(value, self._guarded)
        if largest == 0.0:
            return Scaled(value, _ZERO, self, differentiable)
        size = _too_large(largest, value.dtype)
        smallest = math.ldexp(smallest, -size)
        return Scaled(shift(value, -size), exponent + size, self, differentiable, smallest)

    def _guard(self, *factors: float) -> None:
        """Raise if a product of entries of these sizes may vanish."""
        if self._guarded and math.prod(factors) < _LEAST:
            raise TooWideError

    def _shifted(self, x: Scaled, top: int) -> Tensor:
        """The value that goes with the exponent `top`."""
        if x.exponent == top or x.smallest == math.inf:
            return shift(x.value, x.exponent - top)
        self._guard(math.ldexp(x.smallest, max(x.exponent - top, _VANISHED)))
        return shift(x.value, x.exponent - top)

    def variable(self, x: Scaled, ready: Callable[[Tensor, int], None]) -> Scaled:
        """x, with its derivative wanted: `backward` calls ready(value, exponent) with that."""
        x.differentiable = True
        x.ready = ready
        self._variables.append(x)
        return x

    def product(self, f: Callable[..., Tensor], *operands: Scaled) -> Scaled:
        """f(*operands), for an f that is linear in each operand."""
        total = sum(x.exponent for x in operands)
        self._guard(*(x.smallest for x in operands))
        return self._record(
            f,
            operands,
            [x.value for x in operands],
            total,
            [total - x.exponent for x in operands],
            [
                math.prod(x.smallest for k, x in enumerate(operands) if k != i)
                for i in range(len(operands))
            ],
        )

    def combine(
        self, f: Callable[[Sequence[Tensor]], Tensor], operands: Sequence[Scaled]
    ) -> Scaled:
        """f(operands), for an f that is linear in all of them together (sum, concatenation)."""
        top = max(x.exponent for x in operands)
        n = len(operands)
        with self.lent.present(x.value for x in operands):
            aligned = [self._shifted(x, top) for x in operands]
            return self._record(lambda *xs: f(xs), operands, aligned, top, [0] * n, [1.0] * n)

    def _record(
        self,
        f: Callable[..., Tensor],
        operands: Sequence[Scaled],
        values: Sequence[Tensor],
        exponent: int,
        derivative_exponents: Sequence[int],
        derivative_factors: Sequence[float],
    ) -> Scaled:
        """f(*values); its derivative in operand i is scaled by 2^derivative_exponents[i].

        That consists of products with entries of at least derivative_factors[i].
        """
        leaves = [
            v.detach().requires_grad_(x.differentiable)
            for x, v in zip(operands, values, strict=True)
        ]
        wanted = [i for i, x in enumerate(operands) if x.differentiable]
        with self.lent.present(leaves):
            with torch.enable_grad():
                raw = f(*leaves)
            result = self._scaled(raw.detach(), exponent, bool(wanted))

        def replay() -> None:
            if result.gradient is not None:
                upstream, result.gradient = result.gradient, None
                for i in wanted:
                    self._guard(upstream.smallest, derivative_factors[i])
                with self.lent.present(leaves):
                    gradients = torch.autograd.grad(
                        raw, [leaves[i] for i in wanted], upstream.value, allow_unused=True
                    )
                for i, gradient in zip(wanted, gradients, strict=True):
                    if gradient is not None:
                        exponent = upstream.exponent + derivative_exponents[i]
                        self._accumulate(operands[i], gradient, exponent)
            for i in wanted:
                operands[i].used()

        if wanted and raw.requires_grad:
            self._replays.append(replay)
            for i in wanted:
                operands[i].uses += 1
        return result

    def backward(self, outputs: Sequence[tuple[Scaled, float]]) -> None:
        """Differentiate the sum of weight · sum(output); frees the tape."""
        for output, weight in outputs:
            if output.differentiable:
                self._accumulate(output, torch.full_like(output.value, weight), 0)
        while self._replays:
            self._replays.pop()()
        for variable in self._variables:  # an output that is a parameter itself has no use
            variable.hand_over()

    def _accumulate(self, x: Scaled, gradient: Tensor, exponent: int) -> None:
        held = x.gradient
        if held is None and x.ready is not None and x.uses == 1:  # handed over as it is
            x.gradient = Scaled(gradient, exponent, self)
            return
        more = self._scaled(gradient, exponent)
        if held is not None:
            top = max(more.exponent, held.exponent)
            more = self._scaled(self._shifted(more, top) + self._shifted(held, top), top)
        x.gradient = more
