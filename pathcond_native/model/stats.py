"""`stats`: what a model looks like to the rescaling, without changing it."""

from __future__ import annotations

import torch
from torch import nn

from ..engine.graph import RescalingGraph
from ..engine.stats import Stats, stats_of
from ..memory import exhaustion_told
from .checks import check_graph
from .diag_g import diag_g
from .inputs import ExampleInputs, as_call, check_call, check_model, check_parameters, unwrapped
from .paths import count_paths
from .state import kept
from .trace import trace

__all__ = ["Stats", "stats"]


@exhaustion_told("stats")
def stats(
    model: nn.Module, example_inputs: ExampleInputs, *, graph: RescalingGraph | None = None
) -> Stats:
    """Count a model's parameters, neurons and paths, and measure the spread of diag(G).

    Args:
        model: not changed.
        example_inputs: as for `trace`; paths and diag(G) are those of one sample of this size.
        graph: what `trace(model, example_inputs)` returned, to save tracing again.

    Raises:
        InvalidInputError: an argument is unusable, or a parameter or buffer is not finite.
        TraceError: the model could not be captured.
    """
    model = unwrapped(model)
    check_model(model)
    check_parameters(model)
    check_call(model, as_call(example_inputs))
    with torch.inference_mode(False), kept(model):
        graph = trace(model, example_inputs) if graph is None else graph
        check_graph(graph, model)
        g = diag_g(model, example_inputs, graph=graph).cpu().numpy()
        plain = count_paths(model, graph, biases=False)
        biased = count_paths(model, graph, biases=True)
    return stats_of(graph, [g], plain, biased)
