"""The lifted network: squared parameters, inputs of ones, every operator in its lifted form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.graph import RescalingGraph
from ..engine.program import Program, Step, Value
from ..engine.shapes import expanded
from .network import Network
from .rules import RULES
from .tape import Array, Scaled, Tape, as_stored, normalise

__all__ = ["Lift"]


class Lift:
    """The lifted network in float64: values by index, computed step by step on a tape."""

    def __init__(self, network: Network, graph: RescalingGraph) -> None:
        self.tape = Tape()
        self.counts = False
        self.network = network
        self._graph = graph
        self._program: Program = network.program
        steps = enumerate(self._program.steps)
        self._makers = {v.index: (n, step) for n, step in steps for v in step.outputs}
        self._lifted: dict[int, Scaled] = {}
        self._squares: dict[int, Scaled] = {}
        self._ready: Callable[[int, Array, int], None] = lambda *_: None

    def __getitem__(self, value: Value) -> Scaled:
        """A lifted value; axes along which it is constant are stored with size 1."""
        if value.index not in self._lifted:
            self._lifted[value.index] = self._source(value)
        return self._lifted[value.index]

    def full(self, value: Value, axes: Iterable[int]) -> Scaled:
        """A lifted value with the given axes stored in full."""
        x = self[value]
        held = x.value.shape
        if all(held[axis] == value.shape[axis] for axis in axes):
            return x
        return x.map(
            lambda t: expanded(t, value.shape, axes), lambda gradient: as_stored(gradient, held)
        )

    def is_static(self, value: Value) -> bool:
        """Whether the value depends on no input of the model."""
        return value.index in self._program.static

    def ones(self, value: Value) -> Scaled:
        """A fresh input: ones throughout, stored as a single one."""
        return self.tape.constant(np.ones((1,) * len(value.shape)))

    def squared(self, x: npt.NDArray[Any]) -> Scaled:
        """The lifted form of a real constant: its square."""
        return self.tape.constant(*_square(x))

    def real(self, value: Value) -> npt.NDArray[Any]:
        """What a static value is in the model itself."""
        program = self._program
        if value.index in program.parameter_of:
            return self.network.array(program.parameter_of[value.index])
        if value.index in program.constants:
            found: npt.NDArray[Any] = program.constants[value.index]
            return found
        _, step = self._makers[value.index]
        values = self.network.values
        operands = [self.real(values[name]) if name else None for name in step.op.input]
        results = self.network.operators.run(step.op, operands)
        return dict(zip((v.index for v in step.outputs), results, strict=False))[value.index]

    def _source(self, value: Value) -> Scaled:
        """Squared parameter, squared constant, or an input of ones."""
        number = self._program.parameter_of.get(value.index)
        if number is not None:
            if number not in self._squares:
                square = _square(self.network.array(number))
                self._squares[number] = self.tape.variable(*square, partial(self._ready, number))
            return self._squares[number]
        if not self.is_static(value):
            return self.ones(value)
        made_by, step = self._makers.get(value.index, (-1, None))
        if step is not None and made_by in self._graph.partition.carried:
            return dict(self._results(step))[value.index]
        return self.squared(self.real(value))

    def _results(self, step: Step) -> list[tuple[int, Scaled]]:
        """Lifted outputs of a step by value index, by its rule."""
        lifted = RULES[step.name].lift(self, step)
        results = [lifted] if isinstance(lifted, Scaled) else lifted
        return [(v.index, x) for v, x in zip(step.outputs, results, strict=False)]

    def differentiate(self, ready: Callable[[int, Array, int], None]) -> None:
        """Run the lifted network forward and backward.

        Args:
            ready: called as ready(number of the parameter, value, exponent) with each parameter's
                diag(G) = value · 2^exponent, as soon as its last use is differentiated. Parameters
                that no path goes through are left out.
        """
        self._ready = ready
        self.run()
        self.tape.backward(self.weighted_outputs())

    def run(self) -> None:
        """Run the lifted network forward."""
        for number, step in enumerate(self._program.steps):
            static = all(self.is_static(v) for v in step.outputs)
            if not static and number not in self._graph.partition.ended:
                self._lifted.update(self._results(step))

    def weighted_outputs(self) -> list[tuple[Scaled, float]]:
        """Every output with the number of entries that each stored one stands for.

        A first axis along which all outputs are constant is the batch; one sample is counted.
        """
        outputs = self._program.outputs
        firsts = {(*v.shape, 0)[0] for v in outputs}
        constant = all(self[v].value.shape[:1] == (1,) for v in outputs)
        batch = (firsts.pop() if len(firsts) == 1 and constant else 1) or 1
        return [(self[v], math.prod(v.shape) / max(1, self[v].value.size) / batch) for v in outputs]


def _square(x: npt.NDArray[Any]) -> tuple[Array, int]:
    root, exponent = normalise(x.astype(np.float64), 0)
    return np.square(root, out=np.asarray(root)), 2 * exponent
