"""Tensors with a power of two beside them, and reverse-mode derivatives that never leave range.

A `Scaled` stands for value · 2^exponent. Every operation here is linear in each operand, so the
exponents of operands add, and the derivative with respect to one operand carries the exponents of
the others. Both passes renormalise as they go: depth and weight scale cannot overflow them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .repeats import Repeat

__all__ = ["Scaled", "Tape", "extremes", "normalise", "shift"]

_LARGEST_STEP = 120  # 2^±120 is a normal number in float32 and float64
_HEADROOM = 12  # normalised exponents stay below 1/12 of the largest: products of a few fit
_VANISHED = -2200  # below the square of the smallest float64: nothing survives the shift
_ZERO = -(10**9)  # exponent of a tensor of zeros: it never decides a common exponent


def shift(x: Tensor, exponent: int) -> Tensor:
    """x · 2^exponent for any exponent, rounding only where the result leaves the range."""
    if not exponent:
        return x
    if exponent < _VANISHED:
        return torch.zeros_like(x)
    sign = 1 if exponent > 0 else -1
    steps, rest = divmod(abs(exponent), _LARGEST_STEP)
    for step in [_LARGEST_STEP] * steps + [rest]:
        x = x * math.ldexp(1.0, sign * step)
    return x


def extremes(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest entry, 0 if there is none; waits for a device once."""
    if x.numel() == 0:
        return 0.0, 0.0
    low, high = x.aminmax()
    if x.device.type == "cpu":
        return float(low), float(high)
    low, high = torch.stack((low, high)).tolist()
    return low, high


def normalise(x: Tensor, exponent: int) -> tuple[Tensor, int]:
    """The same number x · 2^exponent with max|x| well inside the range of the dtype."""
    low, high = extremes(x)
    largest = max(-low, high)
    if largest == 0.0:
        return x, _ZERO
    size = math.frexp(largest)[1] if math.isfinite(largest) else 0
    if abs(size) <= math.frexp(torch.finfo(x.dtype).max)[1] // _HEADROOM:
        return x, exponent
    return shift(x, -size), exponent + size


@dataclass(eq=False)
class Scaled:
    """A tensor value · 2^exponent on a tape."""

    value: Tensor
    exponent: int
    tape: Tape
    differentiable: bool = False
    gradient: tuple[Tensor, int] | None = None
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
            self.ready(*gradient)

    def map(self, f: Callable[[Tensor], Tensor]) -> Scaled:
        """f(self), for a linear f."""
        return self.tape.product(f, self)

    def __add__(self, other: Scaled) -> Scaled:
        return self.tape.combine(lambda xs: xs[0] + xs[1], [self, other])


class Tape:
    """Records operations on `Scaled` tensors and replays them backward."""

    def __init__(self) -> None:
        self._replays: list[Callable[[], None]] = []
        self._variables: list[Scaled] = []

    def constant(self, value: Tensor, exponent: int = 0) -> Scaled:
        """A tensor without a derivative."""
        return Scaled(*normalise(value, exponent), self)

    def variable(
        self, value: Tensor, exponent: int, ready: Callable[[Tensor, int], None]
    ) -> Scaled:
        """A tensor whose derivative is wanted: `backward` calls ready(value, exponent) with it."""
        variable = self.constant(value, exponent)
        variable.differentiable = True
        variable.ready = ready
        self._variables.append(variable)
        return variable

    def product(self, f: Callable[..., Tensor], *operands: Scaled) -> Scaled:
        """f(*operands), for an f that is linear in each operand."""
        total = sum(x.exponent for x in operands)
        return self._record(
            f,
            operands,
            [x.value for x in operands],
            total,
            [total - x.exponent for x in operands],
        )

    def combine(
        self, f: Callable[[Sequence[Tensor]], Tensor], operands: Sequence[Scaled]
    ) -> Scaled:
        """f(operands), for an f that is linear in all of them together (sum, concatenation)."""
        top = max(x.exponent for x in operands)
        aligned = [shift(x.value, x.exponent - top) for x in operands]
        return self._record(lambda *xs: f(xs), operands, aligned, top, [0] * len(operands))

    def _record(
        self,
        f: Callable[..., Tensor],
        operands: Sequence[Scaled],
        values: Sequence[Tensor],
        exponent: int,
        derivative_exponents: Sequence[int],
    ) -> Scaled:
        """f(*values); its derivative in operand i is scaled by 2^derivative_exponents[i]."""
        leaves = [
            v.detach().requires_grad_(x.differentiable)
            for x, v in zip(operands, values, strict=True)
        ]
        wanted = [i for i, x in enumerate(operands) if x.differentiable]
        with torch.enable_grad():
            raw = f(*leaves)
        result = Scaled(*normalise(raw.detach(), exponent), self, bool(wanted))

        def replay() -> None:
            if result.gradient is not None:
                upstream, power = result.gradient
                result.gradient = None
                gradients = torch.autograd.grad(
                    raw, [leaves[i] for i in wanted], upstream, allow_unused=True
                )
                for i, gradient in zip(wanted, gradients, strict=True):
                    if gradient is not None:
                        _accumulate(operands[i], gradient, power + derivative_exponents[i])
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
                _accumulate(output, torch.full_like(output.value, weight), 0)
        while self._replays:
            self._replays.pop()()
        for variable in self._variables:  # an output that is a parameter itself has no use
            variable.hand_over()


def _accumulate(x: Scaled, gradient: Tensor, exponent: int) -> None:
    gradient, exponent = normalise(gradient, exponent)
    if x.gradient is not None:
        other, other_exponent = x.gradient
        top = max(exponent, other_exponent)
        gradient = shift(gradient, exponent - top) + shift(other, other_exponent - top)
        exponent = top
    x.gradient = gradient, exponent
