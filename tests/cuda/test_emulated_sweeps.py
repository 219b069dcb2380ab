"""Sweeps that run step after step on the device, the device played by the host."""

from itertools import pairwise

import numpy as np
import problems
import pytest
import torch
from test_emulated_kernels import LARGE, as_tensors, built, weights
from test_model_panels import Tensors, ids, layered
from test_model_trace import CONV_3_8_12_6_4
from zoo import mlp

import pathcond_native as pc
from pathcond_native.model import trace

ROUNDING = 1e-11
"""Absolute, on u after 100 sweeps: sums are taken in another order."""


def assert_same_iterates(graph, g, emulated, same=ROUNDING, **options):
    """Coordinate descent on the played device, both orders of its threads, and on the host."""
    for sweeps in (1, 2, 10, 100):
        asked = {"method": "cd", "tol": 0, "max_sweeps": sweeps, **options}
        expected = pc.solve(graph, g.numpy(), **asked)
        before, found = emulated.solved, []
        for emulated.late in (False, True):
            found.append(pc.solve(graph, g, **asked))
        assert emulated.solved == before + 2
        assert torch.equal(found[0].u, found[1].u)
        assert np.abs(found[0].u.numpy() - expected.u).max(initial=0) <= same
        assert found[0].status == expected.status and found[0].sweeps == expected.sweeps
        np.testing.assert_allclose(found[0].history, expected.history, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "model", "inputs"),
    [
        ("mlp_20_32_16_24_5", mlp(20, 32, 16, 24, 5), (1, 20)),
        ("conv_3_8_12_6_4", CONV_3_8_12_6_4, (1, 3, 8, 8)),
    ],
)
def test_the_papers_iterates(name, model, inputs, emulated):
    _, data = problems.reference(name)
    graph = trace(model, torch.ones(inputs))
    g = torch.from_numpy(data["g"])
    assert_same_iterates(graph, g, emulated)
    for sweeps in (1, 2, 5, 10, 100):
        result = pc.solve(graph, g, method="cd", tol=0, max_sweeps=sweeps)
        assert np.abs(result.u.numpy() - data[f"u_sweeps_{sweeps}"]).max() <= 1e-10


@pytest.mark.parametrize("seed", range(6))
def test_neurons_in_any_order(seed, emulated):
    """Layer by layer in steps of many neurons, or on the host where steps would be too many."""
    rng = np.random.default_rng(seed)
    order = (rng.permutation(18) if seed % 2 else np.arange(18)).astype(np.int32)
    graph = Tensors(layered(rng, order), 18)
    g = weights(graph, seed, 3)
    assert_same_iterates(graph, g, emulated)
    g[torch.rand(len(g), generator=torch.Generator().manual_seed(seed)) < 0.3] = 0
    assert_same_iterates(graph, g, emulated)


@pytest.mark.parametrize("name", ["biases", "kernels of nine taps"])
def test_bounded_scales(name, emulated):
    graph = built(LARGE[name])
    g = weights(graph)
    widest = float(pc.solve(graph, g.numpy()).scales.max())
    assert_same_iterates(graph, g, emulated, max_scale=widest**0.5)


@pytest.mark.parametrize("problem", [problems.skips, problems.residual_stages])
def test_iterates_of_networks_with_skips(problem, emulated, monkeypatch):
    graph = as_tensors(monkeypatch, problem, 0)
    assert_same_iterates(graph, weights(graph), emulated)


@pytest.mark.parametrize("problem", [problems.deep, problems.skips, problems.residual_stages])
@pytest.mark.parametrize("seed", [0, 1])
def test_level_sweeps_with_their_coarse_steps(problem, seed, emulated, monkeypatch):
    graph = as_tensors(monkeypatch, problem, seed)
    g = weights(graph, seed, 4)
    for sweeps in range(1, 9):
        expected = pc.solve(graph, g.numpy(), max_sweeps=sweeps)
        found = []
        for emulated.late in (False, True):
            found.append(pc.solve(graph, g, max_sweeps=sweeps))
        assert torch.equal(found[0].u, found[1].u)
        assert np.abs(found[0].u.numpy() - expected.u).max() <= ROUNDING
        np.testing.assert_allclose(found[0].history, expected.history, rtol=1e-12)
        assert found[0].passes == expected.passes


def test_a_sweep_ends_at_the_minimum_over_shifts_of_layers(emulated):
    """No layer has a slope as a whole, by sums over all rows of B outside the solver."""
    graph = chain(6)
    g = weights(graph, sigma=4)
    B, layers = graph.incidence().toarray().astype(float), np.arange(graph.shape[1]) // 5
    for solve_on in (g.numpy(), g):
        for sweeps in (3, 4, 5):
            result = pc.solve(graph, solve_on, max_sweeps=sweeps, tol=1e-14)
            assert result.sweeps == sweeps and result.gradient_norm > 1e-6
            weight = g.numpy() * np.exp(B @ np.asarray(result.u))
            slope = B.T @ (weight / weight.sum() - 1 / len(g))
            assert np.abs(np.bincount(layers, slope)).max() <= 1e-13
    assert emulated.solved == 3


def interleaved():
    """Two layers whose neurons take turns in the order of B."""
    first, second = np.arange(0, 40, 2, dtype=np.int32), np.arange(1, 40, 2, dtype=np.int32)
    return Tensors(
        [
            ((20, 3), first.reshape(20, 1), ids(-1)),
            ((20, 20), second.reshape(20, 1), first),
            ((2, 20), ids(-1), second),
        ],
        40,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_order_for_the_host_brings_merged_weights_there(dtype, emulated):
    graph = interleaved()
    assert_same_iterates(graph, weights(graph, dtype=dtype), emulated)


@pytest.mark.parametrize("name", ["kernels of nine taps", "two tensors between the same layers"])
def test_numbers_near_the_end_of_their_range(name, emulated):
    """From where they get there, the host goes on with the weights as logarithms."""
    graph = built(LARGE[name])
    g = weights(graph)
    far = np.where(np.arange(graph.shape[1]) % 2, 300.0, -300.0)
    assert_same_iterates(graph, g, emulated, same=1e-9, u0=far)
    rows = slice(graph.bounds[0], graph.bounds[0] + 5)
    g[rows] *= 1e12  # one neuron outweighs all others
    assert_same_iterates(graph, g, emulated, same=1e-9)


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_the_host_goes_on_from_a_layer_that_outweighs_all_others(layer, emulated):
    graph = chain(6)
    g = weights(graph, sigma=4)
    g[graph.bounds[layer] : graph.bounds[layer + 1]] *= 1e17
    for sweeps in (1, 2, 3, 6, 100):
        expected = pc.solve(graph, g.numpy(), max_sweeps=sweeps)
        found = pc.solve(graph, g, max_sweeps=sweeps)
        assert np.abs(found.u.numpy() - expected.u).max() <= 1e-9
        assert found.status == expected.status and found.sweeps == expected.sweeps
    assert emulated.solved == 5 and found.converged


def test_the_callback_counts_every_sweep_once(emulated):
    graph = built(LARGE["kernels of nine taps"])
    g = weights(graph)
    g[: 5 * 9] *= 1e12
    seen = []
    result = pc.solve(
        graph, g, method="cd", tol=0, max_sweeps=7, callback=lambda k, *_: seen.append(k)
    )
    assert seen == list(range(1, 8)) and result.sweeps == 7 and len(result.history) == 8


def chain(depth, width=5):
    neurons = np.arange(depth * width, dtype=np.int32).reshape(depth, width)
    hidden = [((width, width), b.reshape(-1, 1), a) for a, b in pairwise(neurons)]
    return Tensors(
        [
            ((width, 3), neurons[0].reshape(-1, 1), ids(-1)),
            *hidden,
            ((2, width), ids(-1), neurons[-1]),
        ],
        depth * width,
    )


@pytest.mark.parametrize("method", ["auto", "cd"])
def test_the_host_does_not_wait_for_levels(method, emulated):
    """A sweep over 50 levels is one round trip, and all of a solve one allocation of each kind."""
    for depth in (5, 50):
        graph = chain(depth)
        g = weights(graph, sigma=1.5)
        result = pc.solve(graph, g, method=method, max_sweeps=6)
        expected = pc.solve(graph, g.numpy(), method=method, max_sweeps=6)
        assert result.sweeps == expected.sweeps
        # Merging, the first and the last evaluation; a rank-one step takes an evaluation too.
        assert emulated.waits <= result.sweeps + 6
        assert sorted(emulated.allocations) == [False, True]
        emulated.allocations.clear()


@pytest.mark.parametrize("method", ["auto", "cd"])
def test_the_point_stays_on_the_device_between_sweeps(method, emulated):
    graph = chain(50)
    g = weights(graph, sigma=4)
    copied = []
    for sweeps in (4, 10):
        emulated.copied = 0
        result = pc.solve(graph, g, method=method, tol=0, max_sweeps=sweeps)
        assert result.sweeps == sweeps
        copied.append(emulated.copied)
    assert 0 < copied[1] - copied[0] < 6 * 1024 < graph.shape[1] * 8 * 6
