"""Memory of a solve from a matrix B, or row by row: one allocation on the device, one on the host,
the device played by the host."""

import numpy as np
import problems
import pytest
import torch
from test_emulated_columns import as_csc, assert_same, pytestmark  # noqa: F401
from test_emulated_kernels import SAME, SHARP, built, weights
from test_emulated_rows import chains, mild, shuffled
from test_model_panels import Tensors, ids

import pathcond_native as pc

OF_NEURONS = 800
"""Bytes per neuron of either memory, and `BESIDE` in all, see `usual_bytes`."""
BESIDE = 2**16 + 2**15
METHODS = ({}, {"method": "cd", "tol": 0.0, "max_sweeps": 8}, {"method": "newton"})


@pytest.fixture
def taken(emulated):
    """Bytes on the device and on the host, each from so many allocations, of all since the last."""

    def since(on_device=1, on_host=1):
        kinds = emulated.allocations
        assert (kinds.count(True), kinds.count(False)) == (on_device, on_host)
        found = emulated.on_device, emulated.on_host
        kinds.clear()
        emulated.on_device = emulated.on_host = 0
        return found

    return since


def network():
    return built([((60, 100), 0, None), ((40, 60, 9), 1, 0), ((50, 40), 2, 1), ((10, 50), None, 2)])


@pytest.mark.parametrize("options", METHODS)
def test_recognised_columns(options, emulated, taken):
    """What B is, is told by the host's memory: there is no more on the device than for tensors."""
    graph = network()
    B, g = graph.incidence(), weights(graph, sigma=1).float()
    pc.solve(graph, g, **options)
    by_tensors, _ = taken()
    for emulated.late in (False, True):
        pc.solve(as_csc(B), g, **options)
        on_device, on_host = taken()
        assert on_device <= 1.01 * by_tensors
        assert on_host <= OF_NEURONS * B.shape[1] + BESIDE


def test_columns_in_many_pieces(emulated, taken):
    """A stream that many layers read and write is read twice."""
    neurons = np.arange(240, dtype=np.int32).reshape(12, 20)
    stream = neurons[0]
    graph = Tensors(
        [
            ((20, 30), stream.reshape(-1, 1), ids(-1)),
            *(((20, 20), layer.reshape(-1, 1), stream) for layer in neurons[1:]),
            *(((20, 20), stream.reshape(-1, 1), layer) for layer in neurons[1:]),
            ((10, 20), ids(-1), stream),
        ],
        240,
    )
    B, g = graph.incidence(), weights(graph, sigma=1)
    taken(0, 0)
    assert_same(B, as_csc(B), g, emulated, tol=1e-12)
    assert emulated.allocations.count(True) == 2, "one for either order of threads"


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_in_no_order(dtype, options, emulated, taken):
    B = shuffled(network().incidence())
    rows, neurons = B.shape
    g = mild(B, sigma=1).to(dtype)
    expected = pc.solve(B, g.double().numpy(), **options)
    for emulated.late in (False, True):
        found = pc.solve(as_csc(B), g, **options)
        on_device, on_host = taken()
        assert on_device <= (16.3 + 2 * g.element_size()) * rows + OF_NEURONS * neurons + BESIDE
        assert on_host <= OF_NEURONS * neurons + BESIDE
        assert np.abs(found.u.numpy() - expected.u).max() <= 1e-8


@pytest.mark.parametrize("options", METHODS)
def test_irregular_tensors(options, emulated, taken):
    """Channels that are permuted between layers, so that their sums are as many as pairs."""
    rng = np.random.default_rng(0)
    first = np.arange(100, dtype=np.int32)
    second, third = (k * 100 + rng.permutation(100).astype(np.int32) for k in (1, 2))
    graph = Tensors(
        [
            ((100, 30), first.reshape(100, 1), ids(-1)),
            ((100, 100, 9), second.reshape(100, 1, 1), rng.permutation(first).reshape(100, 1)),
            ((100, 100), third.reshape(100, 1), rng.permutation(second)),
            ((10, 100), ids(-1), third),
        ],
        300,
    )
    rows, neurons = graph.shape
    g = torch.from_numpy(rng.lognormal(0, 1, rows))
    for emulated.late in (False, True):
        found = pc.solve(graph, g, **options)
        on_device, on_host = taken()
        assert on_device <= (16.3 + 2 * 8) * rows + OF_NEURONS * neurons + BESIDE
        assert on_host <= OF_NEURONS * neurons + BESIDE
        expected = pc.solve(graph, g.numpy(), **options)
        assert np.abs(found.u.numpy() - expected.u).max() <= 1e-8


def test_pairs_for_the_host(emulated, taken):
    """Merged rows that form no layers are as many as there happen to be."""
    few = shuffled(chains(1100, 3))
    rng = np.random.default_rng(0)
    leave, enter = rng.integers(-1, 300, (2, 30000))
    enter[leave == enter] = -1
    many = problems.from_ends(leave, enter, 300)
    for B, allocations in ((few, 1), (many, 2)):
        g = mild(B, sigma=0.5)
        expected = pc.solve(B, g.numpy(), tol=SHARP).u
        for emulated.late in (False, True):
            found = pc.solve(as_csc(B), g, tol=SHARP)
            assert np.abs(found.u.numpy() - expected).max() <= SAME
            on_device, _ = taken(allocations, allocations)
            # Besides, groups of neurons tell what is between them, or pairs go to the host.
            assert on_device <= (16.3 + 2 * 8) * B.shape[0] + OF_NEURONS * B.shape[1] + BESIDE + (
                0 if allocations == 1 else 16 * B.shape[0] + 8 * B.shape[1] ** 2
            )
