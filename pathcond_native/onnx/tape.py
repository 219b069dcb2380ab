"""Arrays with a power of two beside them, and reverse-mode derivatives that never leave range.

A `Scaled` stands for value · 2^exponent. Operations are linear in each operand and say how their
derivative comes back; exponents add, and both passes renormalise as they go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Linear", "Scaled", "Tape", "as_stored", "normalise"]

Array = npt.NDArray[np.float64]
Linear = Callable[[Array], Array]

_IN_RANGE = 85  # normalised exponents are at most this: products of a few fit float64
_ZERO = -(10**9)  # exponent of an array of zeros: it never decides a common exponent


def normalise(x: Array, exponent: int) -> tuple[Array, int]:
    """The same number x · 2^exponent with max|x| well inside the range."""
    largest = max(-float(x.min(initial=0.0)), float(x.max(initial=0.0)))
    if largest == 0.0:
        return x, _ZERO
    size = math.frexp(largest)[1] if math.isfinite(largest) else 0
    if abs(size) <= _IN_RANGE:
        return x, exponent
    return np.ldexp(x, -size), exponent + size


@dataclass(eq=False)
class Scaled:
    """An array value · 2^exponent on a tape."""

    value: Array
    exponent: int
    tape: Tape
    differentiable: bool = False
    gradient: tuple[Array, int] | None = None
    ready: Callable[[Array, int], None] | None = None
    uses: int = 0
    """Operations whose derivatives are still to come."""

    def map(self, forward: Linear, backward: Linear) -> Scaled:
        """forward(self) for a linear function with the adjoint `backward`."""
        return self.tape.record(forward(self.value), self.exponent, [(self, backward, 0)])

    def used(self) -> None:
        """One use is differentiated; after the last one, what was wanted is handed over."""
        self.uses -= 1
        if self.uses == 0:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the derivative to who wanted it, and forget it."""
        if self.ready is not None and self.gradient is not None:
            (value, exponent), self.gradient = self.gradient, None
            self.value = np.empty(0)
            self.ready(value, exponent)


class Tape:
    """Records operations on `Scaled` arrays and replays them backward."""

    def __init__(self) -> None:
        self._replays: list[Callable[[], None]] = []
        self._variables: list[Scaled] = []

    def constant(self, value: Array, exponent: int = 0) -> Scaled:
        """An array without a derivative."""
        return Scaled(*normalise(value, exponent), self)

    def variable(self, value: Array, exponent: int, ready: Callable[[Array, int], None]) -> Scaled:
        """An array whose derivative is wanted: `backward` calls ready(value, exponent) with it."""
        found = self.constant(value, exponent)
        found.differentiable, found.ready = True, ready
        self._variables.append(found)
        return found

    def record(
        self, value: Array, exponent: int, operands: Sequence[tuple[Scaled, Linear, int]]
    ) -> Scaled:
        """A result; per operand the adjoint of its part, and an exponent that it comes with."""
        wanted = [operand for operand in operands if operand[0].differentiable]
        result = Scaled(*normalise(value, exponent), self, bool(wanted))
        if not wanted:
            return result
        for x, _, _ in wanted:
            x.uses += 1

        def replay() -> None:
            if result.gradient is not None:
                (gradient, power), result.gradient = result.gradient, None
                for x, adjoint, own in wanted:
                    _accumulate(x, adjoint(gradient), power + own)
            for x, _, _ in wanted:
                x.used()

        self._replays.append(replay)
        return result

    def product(
        self,
        forward: Callable[[Array, Array], Array],
        x: Scaled,
        y: Scaled,
        to_x: Callable[[Array, Array], Array],
        to_y: Callable[[Array, Array], Array],
    ) -> Scaled:
        """A bilinear function; to_x(gradient, y) and to_y(gradient, x) are its adjoints."""
        a, b = x.value, y.value
        operands = [
            (x, lambda gradient: to_x(gradient, b), y.exponent),
            (y, lambda gradient: to_y(gradient, a), x.exponent),
        ]
        return self.record(forward(a, b), x.exponent + y.exponent, operands)

    def times(self, x: Scaled, y: Scaled) -> Scaled:
        """The product entry by entry; operands broadcast."""

        def back(shape: tuple[int, ...]) -> Callable[[Array, Array], Array]:
            return lambda gradient, other: as_stored(gradient * other, shape)

        return self.product(np.multiply, x, y, back(x.value.shape), back(y.value.shape))

    def combine(
        self, forward: Callable[[list[Array]], Array], xs: Sequence[Scaled], backs: Sequence[Linear]
    ) -> Scaled:
        """A function that is linear in all operands together, such as a concatenation."""
        top = max(x.exponent for x in xs)
        values = [_shifted(x.value, x.exponent - top) for x in xs]
        operands = [(x, back, 0) for x, back in zip(xs, backs, strict=True)]
        return self.record(forward(values), top, operands)

    def add(self, xs: Sequence[Scaled]) -> Scaled:
        """The sum; operands broadcast."""
        backs = [lambda g, shape=x.value.shape: as_stored(g, shape) for x in xs]
        return self.combine(sum, xs, backs)  # type: ignore[arg-type]

    def backward(self, outputs: Sequence[tuple[Scaled, float]]) -> None:
        """Differentiate the sum of weight · sum(output); frees the tape."""
        for output, weight in outputs:
            if output.differentiable:
                _accumulate(output, np.full_like(output.value, weight), 0)
        while self._replays:
            self._replays.pop()()
        for variable in self._variables:  # an output that is a parameter itself has no use
            variable.hand_over()


def as_stored(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The derivative in an operand that was broadcast: sums over all that an entry stood for."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(a for a, n in enumerate(shape) if n == 1 < gradient.shape[a])
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient


def _shifted(x: Array, exponent: int) -> Array:
    return x if exponent == 0 else np.ldexp(x, max(exponent, -(1 << 20)))


def _accumulate(x: Scaled, gradient: Array, exponent: int) -> None:
    gradient, exponent = normalise(gradient, exponent)
    if x.gradient is not None:
        held, power = x.gradient
        top = max(power, exponent)
        gradient, exponent = normalise(
            _shifted(gradient, exponent - top) + _shifted(held, power - top), top
        )
    x.gradient = gradient, exponent
