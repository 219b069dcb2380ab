"""diag(G) of the path kernel: one forward and one backward pass through the lifted network.

Parameters are squared, inputs are ones, operators have their lifted form, all outputs are summed;
the derivative in the squared parameters is diag(G) (arXiv 2602.19799).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import InvalidInputError
from . import compressed
from .graph import RescalingGraph, check_graph
from .inputs import ExampleInputs, check_parameters, is_finite, unwrapped
from .program import Step, Value
from .repeats import in_full
from .rules import RULES
from .scaled import Scaled, Tape, shift
from .trace import trace

__all__ = ["diag_g", "diag_g_by_parameter"]


def diag_g(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    dtype: torch.dtype = torch.float64,
    graph: RescalingGraph | None = None,
) -> Tensor:
    """The diagonal of the path kernel's Gram matrix G, one entry per scalar parameter.

    Args:
        model: the network; neither it nor its parameters' gradients are changed.
        example_inputs: as for `trace`. Their values do not matter, and neither does the batch size
            as long as the model treats samples independently.
        dtype: of the computation and of the result: torch.float64 or torch.float32.
        graph: what `trace(model, example_inputs)` returned, to save tracing again.

    Returns:
        Tensor of shape (p,), non-negative, on the model's device, in the order of
        ``model.parameters()`` flattened and concatenated. A parameter used k times gets the sum
        over its uses; one that no path goes through gets 0. If the entries do not fit the dtype's
        range, all are divided by one power of two, to which the criterion is blind, and positive
        entries that are still too small become the smallest normal number.

    Raises:
        InvalidInputError: an argument is unusable, or a parameter or buffer is not finite.
        TraceError: the model could not be captured.
    """
    if dtype not in (torch.float32, torch.float64):
        raise InvalidInputError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r}")
    model = unwrapped(model)
    graph = trace(model, example_inputs) if graph is None else graph
    check_graph(graph, model)
    check_parameters(model)
    parts = diag_g_by_parameter(model, graph, dtype)
    return torch.cat([part.reshape(-1) for part in parts]) if parts else torch.zeros(0, dtype=dtype)


def diag_g_by_parameter(
    model: nn.Module, graph: RescalingGraph, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """diag(G) as `diag_g` gives it, one tensor of the parameter's shape each.

    The graph must be the model's, and its parameters finite.
    """
    parts = _aligned(Lift(graph, model, dtype).gradients(), dtype)
    if not all(map(is_finite, parts)):
        raise InvalidInputError(
            "model: diag(G) is not finite; a buffer or constant holds NaN or infinity"
        )
    return parts


class Lift:
    """The lifted network: values by index, computed step by step on a tape."""

    def __init__(self, graph: RescalingGraph, model: nn.Module, dtype: torch.dtype) -> None:
        self.tape = Tape()
        self._graph = graph
        self._program = graph.program
        self._parameters = [parameter.detach() for parameter in model.parameters()]
        self._buffers = dict(model.named_buffers(remove_duplicate=False))
        self._device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._dtype = dtype
        self._real: dict[int, Tensor] = {}
        self._lifted: dict[int, Scaled] = {}
        self._in_full: dict[int, Scaled] = {}
        self._squares: dict[int, Scaled] = {}

    def __getitem__(self, value: Value) -> Scaled:
        x = self.stored(value)
        if not x.repeats:
            return x
        if value.index not in self._in_full:
            self._in_full[value.index] = x.map(partial(in_full, repeats=x.repeats))
        return self._in_full[value.index]

    def stored(self, value: Value) -> Scaled:
        """A lifted value as its rule stored it, possibly with repeats; see `repeats`."""
        if value.index not in self._lifted:
            self._lifted[value.index] = self._source(value)
        return self._lifted[value.index]

    def is_static(self, value: Value) -> bool:
        """Whether the value depends on no input of the model."""
        return value.index in self._program.static

    def tensor(self, x: Tensor | float) -> Tensor:
        """Any real number or tensor in the dtype and on the device of the computation."""
        return torch.as_tensor(x).to(self._device, self._dtype)

    def ones(self, value: Value) -> Scaled:
        """A fresh input: ones throughout, stored as a single one."""
        return self.tape.constant(self.tensor(torch.ones((1,) * len(value.shape))))

    def full(self, value: Value, axes: Iterable[int]) -> Scaled:
        """A lifted value with the given axes stored in full."""
        return self[value].map(lambda x: compressed.expand(x, value.shape, axes))

    def squared(self, x: Tensor) -> Scaled:
        """The lifted form of a real constant: its square."""
        root = self.tape.constant(x)
        return self.tape.constant(root.value**2, 2 * root.exponent)

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
                copy = self._parameters[index].to(self._device, self._dtype, copy=True)
                root = self.tape.constant(copy)
                self._squares[index] = self.tape.variable(root.value.square_(), 2 * root.exponent)
            return self._squares[index]
        if not self.is_static(value):
            return self.ones(value)
        number, step = self._program.makers.get(value.index, (-1, None))
        if step is not None and number in self._graph.partition.carried:
            return dict(self._results(step))[value.index]
        return self.squared(self.real(value))

    def _results(self, step: Step) -> list[tuple[int, Scaled]]:
        """Lifted outputs of a step by value index, by its rule."""
        lifted = RULES[step.name].lift(self, step)
        results = [lifted] if isinstance(lifted, Scaled) else lifted
        return [(v.index, x) for v, x in zip(step.outputs, results, strict=False)]

    def gradients(self) -> list[tuple[Tensor, int]]:
        """Per parameter, its diag(G) as (value, exponent)."""
        for number, step in enumerate(self._program.steps):
            static = all(self.is_static(v) for v in step.outputs)
            if not static and number not in self._graph.partition.ended:
                self._lifted.update(self._results(step))
        self.tape.backward(self._weighted_outputs())
        squares = [self._squares.get(i) for i in range(len(self._parameters))]
        return [
            (torch.zeros_like(parameter, dtype=self._dtype), 0)
            if square is None or square.gradient is None
            else square.gradient
            for parameter, square in zip(self._parameters, squares, strict=True)
        ]

    def _weighted_outputs(self) -> list[tuple[Scaled, float]]:
        """Every output with the number of entries that each stored one stands for.

        A first axis along which all outputs are constant is the batch; one sample is counted.
        """
        outputs = self._program.outputs
        firsts = {(*v.shape, 0)[0] for v in outputs}
        constant = all(self[v].value.shape[:1] == (1,) for v in outputs)
        batch = firsts.pop() if len(firsts) == 1 and constant else 1
        return [
            (self[v], math.prod(v.shape) / max(1, self[v].value.numel()) / batch) for v in outputs
        ]


def _aligned(gradients: list[tuple[Tensor, int]], dtype: torch.dtype) -> list[Tensor]:
    """value · 2^exponent, all moved by one power of two only if some entry leaves the range."""
    limit = math.frexp(torch.finfo(dtype).max)[1] - 40  # headroom for the sum over g
    spans = [span for value, exponent in gradients for span in _span(value, exponent)]
    smallest, largest = min(spans, default=0), max(spans, default=0)
    if -limit <= smallest and largest <= limit:
        return [shift(value, exponent) for value, exponent in gradients]
    moved = [shift(value, exponent + limit - largest) for value, exponent in gradients]
    tiny = torch.finfo(dtype).tiny
    return [
        torch.where(value > 0, x.clamp_min(tiny), x)
        for (value, _), x in zip(gradients, moved, strict=True)
    ]


def _span(value: Tensor, exponent: int) -> list[int]:
    """Exponents of the smallest and the largest positive entry; empty if there is none."""
    low, high = (float(bound) for bound in value.aminmax()) if value.numel() else (0.0, 0.0)
    if high <= 0:
        return []
    low = low or float(value[value > 0].min())
    return [exponent + math.frexp(x)[1] for x in (low, high)]
