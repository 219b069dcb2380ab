"""What the benchmarks compare with gives the right answers too."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import pathcond_native
from pathcond_native import solve

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a module of the benchmarks, which are no part of the package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def small():
    from pathcond_native.cli.networks import Network, dense

    network = Network("small", (5,), lambda: dense(5, 16, 8, 3))
    model, inputs = network.build(), network.inputs(2)
    graph = pathcond_native.trace(model, inputs)
    return graph.incidence(), pathcond_native.diag_g(model, inputs, graph=graph).numpy()


def test_the_sparse_objective_is_that_of_solve(benchmarks, small):
    B, g = small
    result = solve(B, g)
    objective = benchmarks("baselines").SparseObjective(B, g)
    value, gradient = objective(result.u)
    assert value == pytest.approx(result.objective / result.rows, rel=1e-14)
    assert np.abs(gradient).max() <= 1e-12
    start, gradient = objective(np.zeros(objective.H))
    assert start == pytest.approx(result.initial_objective / result.rows, rel=1e-14)
    h = 1e-6 * np.eye(objective.H)
    differences = [(objective(x)[0] - objective(-x)[0]) / 2e-6 for x in h]
    np.testing.assert_allclose(differences, gradient, atol=1e-8)


def test_the_python_sweeps_are_those_of_solve(benchmarks, small):
    B, g = small
    baselines = benchmarks("baselines")
    for sweeps in (1, 10):
        u = baselines.python_sweeps(baselines.edge_sets(B), torch.from_numpy(g), sweeps)
        native = solve(B, g, method="cd", tol=0, max_sweeps=sweeps)
        np.testing.assert_allclose(u.numpy(), native.u, rtol=0, atol=1e-12)


def test_lbfgsb_stops_at_the_gap_asked_for(benchmarks, small):
    B, g = small
    baselines = benchmarks("baselines")
    result = solve(B, g)
    optimum = result.objective / result.rows
    objective = baselines.SparseObjective(B, g)
    loose, tight = (baselines.lbfgsb(objective, optimum + gap) for gap in (1e-3, 1e-9))
    assert loose.nit < tight.nit
    assert -1e-13 <= objective(tight.x)[0] - optimum <= 1e-9


def test_reading_adds_up_every_whole_word():
    words = np.arange(10, dtype=np.uint64)
    tail = np.ones(13, dtype=np.int8)
    from pathcond_native.cli.bench import read_once

    assert read_once((words, tail)) == 45 + int.from_bytes(bytes([1] * 8), "little")


def test_the_table_leaves_out_what_was_not_measured(benchmarks):
    facts = {"reading": {"seconds": 2e-3, "ratio": 0.05}}
    text = benchmarks("results").table({"MLP": facts})
    assert "2 ms (1/20)" in text
    assert "L-BFGS-B" not in text
    assert len({len(line) for line in text.splitlines()}) == 1


def test_the_numba_sweeps_are_those_of_solve(benchmarks, small):
    pytest.importorskip("numba")
    B, g = small
    u = benchmarks("baselines").numba_sweeps(B, g)(10)
    native = solve(B, g, method="cd", tol=0, max_sweeps=10)
    np.testing.assert_allclose(u, native.u, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "sizes"), [("chain", (5, 6)), ("depthwise", (6, 2)), ("stream", (5, 3, 4))]
)
def test_synthetic_problems_are_the_same_with_and_without_B(benchmarks, build, sizes):
    synthetic = benchmarks("synthetic")
    graph = getattr(synthetic, build)(*sizes)
    B, g = graph.incidence(), synthetic.conditioned(graph, 4.0, seed=0)
    by_tensors, from_B = solve(graph, g), solve(B, g)
    assert by_tensors.converged and from_B.converged
    assert by_tensors.objective == pytest.approx(from_B.objective, rel=1e-13)
    value, gradient = benchmarks("baselines").SparseObjective(B, g)(by_tensors.u)
    assert np.abs(gradient).max() <= 2e-12
    assert value == pytest.approx(by_tensors.objective / by_tensors.rows, rel=1e-13)


def test_resnet50_has_its_parameters(benchmarks):
    with torch.device("meta"):
        model = benchmarks("residual").resnet50()
    assert sum(x.numel() for x in model.parameters()) == 25_557_032
    assert model(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)
