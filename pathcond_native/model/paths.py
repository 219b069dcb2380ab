"""How many paths a network has: the lifted network with every factor 1, counted exactly.

A path starts at an input, at a bias, or where other paths end (a tanh, say), and follows one
connection per operator to an output. Weights, averages, normalisation and constant factors count
as the connections they are, whatever their value; only constants that are 0, such as the mask of a
pruned weight, cut paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..engine.graph import RescalingGraph
from ..engine.stats import Paths
from .lift import Lift
from .normalisation import CHANNEL_NORM
from .program import Step, Value
from .rules import RULES
from .scaled import Scaled, Tape

__all__ = ["Paths", "count_paths"]

_Lifted = Callable[[Lift, Step], "Scaled | Sequence[Scaled]"]

_EXACT = 2.0**53  # integers up to here are exact in float64
_PRIMES_FROM = 2**25  # products of two residues, and sums of 2^27 residues, are exact
_MOST_WORK = 2e9  # multiplications and additions that an exact count may cost


def count_paths(model: nn.Module, graph: RescalingGraph, biases: bool) -> Paths:
    """Count the paths of one sample, with or without those that start at a bias.

    The exact count of a large network is put together from its residues modulo several primes.
    """
    lift = _Count(graph, model, Tape(), biases)
    log2 = lift.log2_total()
    if log2 == -math.inf:
        return Paths(-math.inf, 0)
    log10 = log2 * math.log10(2.0)
    if not lift.whole:
        return Paths(log10, None)
    needed = math.floor((log2 + 1.0) / math.log2(_PRIMES_FROM)) + 1
    if needed * _work(graph) > _MOST_WORK:
        return Paths(log10, None)
    total, modulus, prime = 0, 1, _PRIMES_FROM
    for _ in range(needed):
        prime = _next_prime(prime)
        residue = _Count(graph, model, _Residues(prime), biases).residue(prime)
        total += modulus * ((residue - total) * pow(modulus, -1, prime) % prime)
        modulus *= prime
    return Paths(log10, total)


class _Count(Lift):
    """The lifted network in which parameters, averages and constant factors are 1."""

    def __init__(self, graph: RescalingGraph, model: nn.Module, tape: Tape, biases: bool) -> None:
        super().__init__(graph, model, torch.float64)
        self.tape = tape
        self.whole = True
        self._ones = set(self._program.parameter_of)
        self._zeros: set[int] = set()
        if not biases:
            given = (step.arguments.get("bias") for step in self._program.steps)
            self._zeros = {bias.index for bias in given if isinstance(bias, Value)}
        for number, step in enumerate(self._program.steps):
            static = all(self.is_static(v) for v in step.outputs)
            if not static and number not in graph.partition.ended:
                self._count(step)

    def tensor(self, x: Tensor | float) -> Tensor:
        """Where a constant is not 0."""
        return super().tensor(x).ne(0).double()

    def _source(self, value: Value) -> Scaled:
        if value.index in self._zeros:
            return self.tape.constant(super().tensor(torch.zeros(value.shape)))
        if value.index in self._ones:
            return self.tape.constant(super().tensor(torch.ones(value.shape)))
        return super()._source(value)

    def _count(self, step: Step) -> None:
        counted = _COUNTED.get(step.name)
        lifted = counted(self, step) if counted else RULES[step.name].lift(self, step)
        results = [lifted] if isinstance(lifted, Scaled) else lifted
        for value, x in zip(step.outputs, results, strict=False):
            self.whole &= x.exponent != 0 or torch.equal(x.value, x.value.round())
            self._lifted[value.index] = x

    def log2_total(self) -> float:
        """log2 of the sum over the outputs."""
        terms = [
            math.log2(weight * total) + x.exponent
            for x, weight in self._weighted_outputs()
            if (total := float(x.value.sum())) > 0
        ]
        top = max(terms, default=-math.inf)
        return top + math.log2(sum(2.0 ** (t - top) for t in terms)) if terms else top

    def residue(self, prime: int) -> int:
        """The sum over the outputs modulo a prime."""
        return (
            sum(round(weight) * int(x.value.sum()) for x, weight in self._weighted_outputs())
            % prime
        )


class _Residues(Tape):
    """Integers modulo a prime in place of numbers with exponents."""

    def __init__(self, prime: int) -> None:
        super().__init__()
        self._prime = prime

    def constant(self, value: Tensor, exponent: int = 0) -> Scaled:
        """The residues of integers."""
        return Scaled(value.remainder(self._prime), 0, self)

    def product(self, f: Callable[..., Tensor], *operands: Scaled) -> Scaled:
        """The residues of f(*operands)."""
        return self.constant(f(*(x.value for x in operands)))

    def combine(
        self, f: Callable[[Sequence[Tensor]], Tensor], operands: Sequence[Scaled]
    ) -> Scaled:
        """The residues of f(operands)."""
        return self.constant(f([x.value for x in operands]))


def _as(name: str, **arguments: object) -> _Lifted:
    """Count like another operator."""

    def count(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
        return RULES[name].lift(lift, replace(step, arguments={**step.arguments, **arguments}))

    return count


def _batch_norm(lift: Lift, step: Step) -> Scaled | Sequence[Scaled]:
    """One connection per channel, and a bias; none from the input to statistics of its own."""
    if step.arguments.get("training"):
        return CHANNEL_NORM.lift(lift, step)
    x, bias = lift[step["input"]], step["bias"]
    if bias is None:
        return x
    shape = (1, -1) + (1,) * (len(step["input"].shape) - 2)
    return x + lift[bias].map(lambda b: b.reshape(shape))


_COUNTED: dict[str, _Lifted] = {
    "aten.mean": _as("aten.sum"),
    "aten.add": _as("aten.add", alpha=1),
    "aten.sub": _as("aten.sub", alpha=1),
    "aten.batch_norm": _batch_norm,
    "aten._native_batch_norm_legit_no_training": _batch_norm,
}
for _rank in (1, 2, 3):
    _COUNTED[f"aten.avg_pool{_rank}d"] = _as(f"aten.max_pool{_rank}d", dilation=1)
    _COUNTED[f"aten.adaptive_avg_pool{_rank}d"] = _as(f"aten.adaptive_max_pool{_rank}d")
    _COUNTED[f"aten._adaptive_avg_pool{_rank}d"] = _as(f"aten.adaptive_max_pool{_rank}d")


def _work(graph: RescalingGraph) -> float:
    """Roughly the multiplications and additions of one pass for one sample."""
    total = 0.0
    for step in graph.program.steps:
        out, weight = step.outputs[0].shape, step.arguments.get("weight")
        inputs = math.prod(weight.shape[1:]) if isinstance(weight, Value) else 1
        total += math.prod(out[1:]) * inputs
    return total


def _next_prime(n: int) -> int:
    n += 1
    while any(n % d == 0 for d in range(2, math.isqrt(n) + 1)):
        n += 1
    return n
