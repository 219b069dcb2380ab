"""`stats` of an ONNX model: counts of paths, spread of diag(G)."""

from __future__ import annotations

import math

import numpy as np
from onnx import ModelProto

from ..engine.graph import RescalingGraph
from ..engine.program import Value
from ..engine.stats import Paths, Stats, stats_of
from ..memory import exhaustion_told
from .lift import Lift
from .network import Network
from .rescale import Inputs, graph_of, read
from .rule import AnyArray
from .tape import Scaled
from .weights import BIASES, check_finite, diag_g

__all__ = ["stats"]

_EXACT = 2.0**53  # integers up to here are exact in float64


@exhaustion_told("stats")
def stats(model: ModelProto, inputs: Inputs | None = None) -> Stats:
    """Count a model's parameters, neurons and paths, and measure the spread of diag(G).

    Paths are counted in float64: exactly below 2^53, by their logarithm beyond.

    Args, raises: as for `rescale`; the model is not changed.
    """
    network = read(model, inputs)
    check_finite(network)
    graph = graph_of(network)
    plain, biased = (_count(network, graph, biases) for biases in (False, True))
    return stats_of(graph, diag_g(network, graph), plain, biased)


def _count(network: Network, graph: RescalingGraph, biases: bool) -> Paths:
    lift = _Count(network, graph, biases)
    lift.run()
    terms = [
        math.log2(weight * total) + x.exponent
        for x, weight in lift.weighted_outputs()
        if (total := float(x.value.sum())) > 0
    ]
    if not terms:
        return Paths(-math.inf, 0)
    top = max(terms)
    log2 = top + math.log2(sum(2.0 ** (t - top) for t in terms))
    number = 2.0**log2 if log2 < 53 else math.inf
    whole = number < _EXACT and abs(number - round(number)) < 1e-6 * number
    return Paths(log2 * math.log10(2.0), round(number) if whole else None)


class _Count(Lift):
    """The lifted network in which weights, averages and constant factors are 1."""

    def __init__(self, network: Network, graph: RescalingGraph, biases: bool) -> None:
        super().__init__(network, graph)
        self.counts = True
        steps = network.program.steps
        given = (step.arguments.get(BIASES.get(step.name, "")) for step in steps)
        self._zeros = {v.index for v in given if isinstance(v, Value) and not biases}

    def squared(self, x: AnyArray) -> Scaled:
        """Where a constant is not 0."""
        return self.tape.constant((x != 0).astype(np.float64))

    def _source(self, value: Value) -> Scaled:
        if value.index in self._zeros:
            return self.tape.constant(np.zeros(value.shape))
        if value.index in self._program.parameter_of:
            return self.tape.constant(np.ones(value.shape))
        return super()._source(value)
