"""The networks as problems (B, g), built once each, and the table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from scipy.sparse import csc_array

from pathcond_native import RescalingGraph, SolveResult, diag_g, solve, trace
from pathcond_native.cli.networks import NETWORKS

from .baselines import SparseObjective, Vector
from .results import table

FACTS = pytest.StashKey[dict[str, dict[str, Any]]]()


@dataclass(frozen=True)
class Problem:
    """One network's graph, B and g, with what every benchmark of it needs."""

    title: str
    graph: RescalingGraph
    B: csc_array
    g: Vector
    objective: SparseObjective
    optimum: SolveResult


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: network.title)
def problem(request: pytest.FixtureRequest) -> Problem:
    model, inputs = request.param.build(), request.param.inputs(4)
    graph = trace(model, inputs)
    B = graph.incidence()
    g = diag_g(model, inputs, graph=graph).numpy()
    assert (g > 0).all()
    return Problem(request.param.title, graph, B, g, SparseObjective(B, g), solve(B, g))


@pytest.fixture
def record(request: pytest.FixtureRequest, problem: Problem, benchmark: Any) -> Any:
    """Call with a name and what was measured: kept in the benchmark's JSON and for the table."""
    all_facts = request.config.stash.setdefault(FACTS, {})

    def keep(name: str, **measured: Any) -> None:
        benchmark.extra_info.update(network=problem.title, **{name: measured})
        all_facts.setdefault(problem.title, {})[name] = measured

    return keep


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """The per-neuron tensors are too small for more: two threads were measured to be slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    facts = config.stash.get(FACTS, {})
    if facts:
        terminalreporter.section("solve, side by side (medians)")
        terminalreporter.write_line(table(facts))
