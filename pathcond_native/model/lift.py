"""The lifted network: squared parameters, inputs of ones, every operator in its lifted form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ..engine.graph import RescalingGraph
from . import compressed
from .precision import full_precision
from .program import Program, Step, Value
from .repeats import in_full
from .rules import RULES
from .scaled import Scaled, Tape, shift

__all__ = ["Lift"]


class Lift:
    """The lifted network: values by index, computed step by step on a tape.

    With `frugal`, squared parameters are computed anew for every use instead of being kept.
    """

    def __init__(
        self,
        graph: RescalingGraph,
        model: nn.Module,
        dtype: torch.dtype,
        guarded: bool = False,
        frugal: bool = False,
    ) -> None:
        self.tape = Tape(guarded)
        self._graph = graph
        self._program: Program = graph.program
        self._parameters = [parameter.detach() for parameter in model.parameters()]
        self._buffers = dict(model.named_buffers(remove_duplicate=False))
        self.device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._dtype = dtype
        self._frugal = frugal
        self._real: dict[int, Tensor] = {}
        self._lifted: dict[int, Scaled] = {}
        self._in_full: dict[int, Scaled] = {}
        self._squares: dict[int, Scaled] = {}
        self._ready: Callable[[int, Tensor, int], None] = lambda *_: None

    def __getitem__(self, value: Value) -> Scaled:
        x = self.stored(value)
        if not x.repeats:
            return x
        if value.index not in self._in_full:
            self._in_full[value.index] = x.map(partial(in_full, repeats=x.repeats))
        return self._in_full[value.index]

    def stored(self, value: Value, axes: Iterable[int] | None = None) -> Scaled:
        """A lifted value with repeats (see `repeats`), if axes are given along those only."""
        if value.index not in self._lifted:
            self._lifted[value.index] = self._source(value)
        x = self._lifted[value.index]
        if axes is None or x.repeats.keys() <= set(axes):
            return x
        kept = {axis: repeat for axis, repeat in x.repeats.items() if axis in set(axes)}
        others = {axis: repeat for axis, repeat in x.repeats.items() if axis not in kept}
        return x.map(partial(in_full, repeats=others)).with_repeats(kept)

    def is_static(self, value: Value) -> bool:
        """Whether the value depends on no input of the model."""
        return value.index in self._program.static

    def tensor(self, x: Tensor | float) -> Tensor:
        """Any real number or tensor in the dtype and on the device of the computation."""
        return torch.as_tensor(x, dtype=self._dtype, device=self.device)

    def ones(self, value: Value) -> Scaled:
        """A fresh input: ones throughout, stored as a single one."""
        return self.tape.constant(self.tensor(torch.ones((1,) * len(value.shape))))

    def full(self, value: Value, axes: Iterable[int]) -> Scaled:
        """A lifted value with the given axes stored in full."""
        x = self[value]
        if all(x.value.shape[axis] == value.shape[axis] for axis in axes):
            return x
        return x.map(lambda t: compressed.expand(t, value.shape, axes))

    def squared(self, x: Tensor) -> Scaled:
        """The lifted form of a real constant: its square."""
        return self.tape.square(x)

    def real(self, value: Value) -> Tensor:
        """What a static value is in the model itself, in the dtype of the computation."""
        return self.tensor(self._evaluate(value))

    def _evaluate(self, value: Value) -> Tensor:
        index, program = value.index, self._program
        if index in program.parameter_of:
            return self._parameters[program.parameter_of[index]]
        if index in program.buffer_of:
            return self._buffers[program.buffer_of[index]].detach()
        if index in program.constants:
            return program.constants[index].detach()
        if index not in self._real:
            _, step = program.makers[index]
            with torch.no_grad():
                result = step.call({v.index: self._evaluate(v) for v in step.inputs()})
            results = [result] if isinstance(result, Tensor) else result
            results = [x for x in results if isinstance(x, Tensor)]
            for output, tensor in zip(step.outputs, results, strict=True):
                self._real[output.index] = tensor
        return self._real[index]

    def _source(self, value: Value) -> Scaled:
        """Squared parameter, squared constant, or an input of ones."""
        index = self._program.parameter_of.get(value.index)
        if index is not None:
            if index not in self._squares:
                self._squares[index] = self._squared(index)
            return self._squares[index]
        if not self.is_static(value):
            return self.ones(value)
        number, step = self._program.makers.get(value.index, (-1, None))
        if step is not None and number in self._graph.partition.carried:
            return dict(self._results(step))[value.index]
        return self.squared(self.real(value))

    def _squared(self, index: int) -> Scaled:
        parameter = self._parameters[index]
        root = parameter.to(self.device, self._dtype)
        x = self.tape.variable(self.tape.square(root), partial(self._ready, index))

        def fill(squares: Tensor) -> None:
            root = shift(squares.copy_(parameter), -x.exponent // 2)
            torch.mul(root, root, out=squares)

        if self._frugal:
            self.tape.lent.lend(x.value, fill)
        return x

    def _results(self, step: Step) -> list[tuple[int, Scaled]]:
        """Lifted outputs of a step by value index, by its rule."""
        lifted = RULES[step.name].lift(self, step)
        results = [lifted] if isinstance(lifted, Scaled) else lifted
        return [(v.index, x) for v, x in zip(step.outputs, results, strict=False)]

    def differentiate(self, ready: Callable[[int, Tensor, int], None]) -> None:
        """Run the lifted network forward and backward.

        Args:
            ready: called as ready(number of the parameter, value, exponent) with each parameter's
                diag(G) = value · 2^exponent, as soon as its last use is differentiated; nothing
                here keeps it. Parameters that no path goes through are left out.
        """
        self._ready = ready
        with full_precision(), torch.autocast(self.device.type, enabled=False):
            for number, step in enumerate(self._program.steps):
                static = all(self.is_static(v) for v in step.outputs)
                if not static and number not in self._graph.partition.ended:
                    self._lifted.update(self._results(step))
            self.tape.backward(self._weighted_outputs())

    def _weighted_outputs(self) -> list[tuple[Scaled, float]]:
        """Every output with the number of entries that each stored one stands for.

        A first axis along which all outputs are constant is the batch; one sample is counted.
        """
        outputs = self._program.outputs
        firsts = {(*v.shape, 0)[0] for v in outputs}
        constant = all(self[v].value.shape[:1] == (1,) for v in outputs)
        batch = (firsts.pop() if len(firsts) == 1 and constant else 1) or 1
        return [
            (self[v], math.prod(v.shape) / max(1, self[v].value.numel()) / batch) for v in outputs
        ]
