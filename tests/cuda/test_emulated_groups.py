"""Neurons are grouped on the device, played by the host, as on the host: hence the same sweeps."""

import numpy as np
import problems
import pytest
import scipy.sparse as sp
import torch
from test_emulated_columns import as_csc, pytestmark  # noqa: F401  (filters torch's warnings here)
from test_model_panels import Tensors, ids

import pathcond_native as pc

METHODS = ["auto", "newton"]
REGULAR = (
    problems.layered,
    problems.layered_kernels,
    problems.deep,
    problems.skips,
    problems.residual_stages,
    problems.self_stream,
    problems.random_pairs,
)


def assert_same_steps(B, on_device, g, emulated, method):
    before = emulated.solved
    found = pc.solve(on_device, torch.from_numpy(g), method=method)
    expected = pc.solve(B, g, method=method)
    assert emulated.solved == before + 1
    assert (found.sweeps, found.status) == (expected.sweeps, expected.status)
    assert (found.rows, found.merged_rows) == (expected.rows, expected.merged_rows)
    assert found.passes == expected.passes
    np.testing.assert_allclose(found.history, expected.history, rtol=1e-12)
    return found, expected


def with_zeros(g, share, seed=0):
    return g * (np.random.default_rng(seed).random(len(g)) >= share)


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.1, 0.5])
@pytest.mark.parametrize("problem", REGULAR)
def test_matrices(problem, share, emulated):
    """A weight of 0 changes no group, on neither."""
    rng = np.random.default_rng(0)
    network = problem(rng)
    g = with_zeros(problems.mild(rng, network.layer), share)
    for method in METHODS:
        found, expected = assert_same_steps(network.B, as_csc(network.B), g, emulated, method)
        assert np.abs(found.u.numpy() - expected.u).max() <= 1e-10


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("problem", [problems.layered, problems.deep_kernels, problems.skips])
def test_rows_in_any_order(problem, share, emulated):
    rng = np.random.default_rng(1)
    network = problem(rng)
    order = rng.permutation(network.B.shape[0])
    B, layer = sp.csc_array(network.B.tocsr()[order]), network.layer[order]
    g = with_zeros(problems.mild(rng, layer), share)
    for method in METHODS:
        found, expected = assert_same_steps(B, as_csc(B), g, emulated, method)
        assert np.abs(found.u.numpy() - expected.u).max() <= 1e-10


@pytest.mark.parametrize("width", [3, 8, 20])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_few_weights_of_few_neurons(width, share, emulated):
    """So few weights that neurons are grouped one by one."""
    network = problems.network([width] * 12)
    for seed in range(5):
        g = with_zeros(problems.mild(np.random.default_rng(seed), network.layer), share, seed)
        assert_same_steps(network.B, as_csc(network.B), g, emulated, "auto")


def grouped(entered, left, groups, taps):
    """A convolution in groups of channels."""
    each = len(left) // groups
    of_group = left.reshape(groups, 1, each, 1)
    of_row = np.broadcast_to(of_group, (groups, len(entered) // groups, each, 1))
    shape = (len(entered), each, taps)
    return shape, entered.reshape(-1, 1, 1), of_row.reshape(len(entered), each, 1)


def full(entered, left, taps):
    return (len(entered), len(left), taps), entered.reshape(-1, 1, 1), left.reshape(-1, 1)


def some_network(rng, width, depth):
    """One to three tensors from layer to layer: full, in groups, one by one, shuffled."""
    layers = np.arange(depth * width, dtype=np.int32).reshape(depth, width)
    kinds = [
        lambda b, a: full(b, a, 1),
        lambda b, a: full(b, a, 4),
        lambda b, a: full(rng.permutation(b), a, 2),
        lambda b, a: grouped(b, rng.permutation(a), 2, 1),
        lambda b, a: grouped(b, a, 4, 3),
        lambda b, a: grouped(b, a, width, 9),
        lambda b, a: grouped(rng.permutation(b), a, width, 1),
    ]
    tensors = [full(layers[0], np.array([-1, -1, -1], np.int32), 1), ((width,), layers[0], ids(-1))]
    for k in range(1, depth):
        for _ in range(rng.integers(1, 4)):
            tensors.append(kinds[rng.integers(len(kinds))](layers[k], layers[k - 1]))
        if rng.random() < 0.5:
            tensors.append(((width,), layers[k], ids(-1)))
    return Tensors([*tensors, full(np.array([-1, -1], np.int32), layers[-1], 1)], depth * width)


@pytest.mark.parametrize("width", [4, 16, 48, 96])
@pytest.mark.parametrize("seed", range(6))
def test_tensors(width, seed, emulated):
    """Also where the pairs of irregular tensors are too many for the host, or join others."""
    rng = np.random.default_rng(seed)
    graph = some_network(rng, width, 4)
    B = graph.incidence()
    mild = np.exp(rng.standard_normal(graph.shape[0]))
    for share in (0.0, 0.1, 0.4):
        g = with_zeros(mild, share, seed)
        for method in METHODS:
            found, expected = assert_same_steps(graph, graph, g, emulated, method)
            assert np.abs(found.u.numpy() - expected.u).max() <= 1e-9
            assert found.merged_rows == pc.solve(B, g).merged_rows
            assert found.objective == pytest.approx(pc.solve(B, g).objective, rel=1e-12)
