"""A matrix B on a device whose rows are merged one by one, the device played by the host."""

import numpy as np
import problems
import pytest
import scipy.sparse as sp
import torch
from test_emulated_columns import as_csc, assert_same, pytestmark  # noqa: F401
from test_emulated_kernels import LARGE, SAME, SHARP, as_tensors, built, weights

import pathcond_native as pc


def shuffled(B, seed=0):
    """Rows in no order, which makes no tensors."""
    return sp.csc_array(sp.csr_array(B)[np.random.default_rng(seed).permutation(B.shape[0])])


def mild(B, seed=0, sigma=2.0):
    return torch.from_numpy(np.random.default_rng(seed).lognormal(0, sigma, B.shape[0]))


@pytest.mark.parametrize("name", problems.REFERENCES)
def test_the_reference_problems(name, emulated):
    B, data = problems.reference(name)
    order = np.random.default_rng(0).permutation(B.shape[0])
    B, g = sp.csc_array(sp.csr_array(B)[order]), torch.from_numpy(data["g"][order])
    result = assert_same(B, as_csc(B), g, emulated)
    assert np.abs(result.u.numpy() - data["u_optimal"]).max() <= 1e-8
    for sweeps in (1, 2, 5, 10, 100):
        found = pc.solve(as_csc(B), g, method="cd", tol=0, max_sweeps=sweeps)
        assert np.abs(found.u.numpy() - data[f"u_sweeps_{sweeps}"]).max() <= 1e-10
    assert emulated.refused == 0


@pytest.mark.parametrize("problem", problems.PAIRS)
def test_networks(problem, emulated):
    B = problem(np.random.default_rng(0)).B
    order = np.random.default_rng(1).permutation(B.shape[1])
    for matrix in (shuffled(B), shuffled(B[:, order])):
        g = mild(matrix, sigma=1)
        assert_same(matrix, as_csc(matrix), g, emulated)
        found, expected = pc.solve(as_csc(matrix), g), pc.solve(matrix, g.numpy())
        assert (found.sweeps, found.status) == (expected.sweeps, expected.status)
        np.testing.assert_allclose(found.history, expected.history, rtol=1e-12)
        g[np.random.default_rng(2).random(len(g)) < 0.3] = 0
        assert_same(matrix, as_csc(matrix), g, emulated)


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_few_kinds(seed, emulated):
    """Sums of equal rows, told by F at any point; few of many possible pairs, often repeated."""
    rng = np.random.default_rng(seed)
    neurons, rows, kinds = (int(rng.integers(1, most)) for most in (60, 6000, 400))
    kind = rng.integers(0, kinds, rows)
    leave, enter = rng.integers(-1, neurons, (2, kinds))[:, np.sort(kind) if seed % 3 else kind]
    B = problems.from_ends(leave, enter, neurons)
    g = mild(B, seed, sigma=float(rng.choice([0.1, 1, 3])))
    if seed % 2:
        g[torch.from_numpy(rng.random(rows) < rng.random())] = 0
    g = g.to((torch.float32, torch.float64, torch.bfloat16)[seed % 3])
    emulated.late = seed % 4 > 1
    for u0 in (np.zeros(neurons), rng.standard_normal(neurons)):
        options = {"u0": u0, "max_sweeps": 0}
        found = pc.solve(as_csc(B, value=torch.int8), g, **options)
        expected = pc.solve(B, g.double().numpy(), **options)
        assert (found.rows, found.merged_rows) == (expected.rows, expected.merged_rows)
        assert np.array_equal(found.frozen.numpy(), expected.frozen)
        assert found.objective == pytest.approx(expected.objective, rel=1e-13)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, abs=1e-13)
    assert emulated.refused == 0


@pytest.mark.parametrize("method", ["auto", "newton", "cd"])
@pytest.mark.parametrize("max_scale", [None, 3.0])
def test_methods(method, max_scale, emulated):
    B = shuffled(problems.skips(np.random.default_rng(0)).B)
    options = {"tol": 0.0, "max_sweeps": 20} if method == "cd" else {}
    assert_same(B, as_csc(B), mild(B), emulated, method=method, max_scale=max_scale, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.int8, torch.int32, torch.int64, torch.float32])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_types(index, value, dtype, emulated):
    B = shuffled(problems.layered(np.random.default_rng(0)).B)
    assert_same(B, as_csc(B, index, value), mild(B, sigma=1).to(dtype), emulated)


def lengths_of_runs():
    """At, before and behind the ends of what a thread and a tile have, in many orders."""
    edges = [1, 2, 7, 8, 9, 15, 16, 2039, 2040, 2041, 2047, 2048, 2049, 4096, 9000]
    orders = [edges, edges[::-1], [2048] * 5, [8] * 600, [4096, 1, 2047], [20000], [1] * 5000]
    rng = np.random.default_rng(0)
    return orders + [list(rng.permutation(edges)) for _ in range(6)]


@pytest.mark.parametrize("lengths", lengths_of_runs())
def test_runs_of_every_length(lengths, emulated):
    """Neuron k is entered by so many rows, and left by one."""
    count = len(lengths)
    enter = np.concatenate([np.repeat(np.arange(count), lengths), np.full(count, -1)])
    leave = np.concatenate([np.full(sum(lengths), -1), np.arange(count)])
    B = shuffled(problems.from_ends(leave, enter, count))
    g = mild(B, sigma=1)
    found = assert_same(B, as_csc(B), g, emulated)
    assert found.merged_rows == 2 * count


@pytest.mark.parametrize("name", sorted(LARGE))
def test_many_tiles(name, emulated):
    graph = built(LARGE[name])
    B = shuffled(graph.incidence())
    g = mild(B, sigma=1).float()
    assert_same(B, as_csc(B), g, emulated)
    g[::7] = 0
    assert_same(B, as_csc(B), g, emulated)


def test_tensors_of_other_layouts(emulated):
    """Rows column by column, channels in another order, kernels with their taps apart."""
    rng = np.random.default_rng(0)
    first, second = rng.permutation(30), 30 + rng.permutation(40)
    transposed = (np.tile(first, (40, 1)).T, np.tile(second, (30, 1)))
    apart = (np.tile(first, (9, 40, 1)), np.repeat(np.tile(second[:, None], (9, 1, 1)), 30, 2))
    for left, entered in (transposed, apart):
        leave = np.concatenate([np.full(300, -1), left.ravel(), np.tile(second, 3)])
        enter = np.concatenate([np.repeat(first, 10), entered.ravel(), np.full(120, -1)])
        B = problems.from_ends(leave, enter, 70)
        assert_same(B, as_csc(B), mild(B), emulated)


def chains(channels, stages=1):
    """Channels that meet nowhere, each in a kernel of nine taps per stage."""
    stage = np.repeat(np.arange(stages * channels), 9)
    last = stages * channels + np.arange(channels)
    leave = np.concatenate([np.full(3 * channels, -1), stage, last])
    enter = np.concatenate(
        [np.tile(np.arange(channels), 3), stage + channels, np.full(channels, -1)]
    )
    return problems.from_ends(leave, enter, (stages + 1) * channels)


@pytest.mark.parametrize(("channels", "stages"), [(1100, 3), (3000, 1)])
def test_thousands_of_tiny_groups(channels, stages, emulated):
    """More groups of neurons than a coarse step takes: pairs, once merged, go to the host."""
    B = shuffled(chains(channels, stages))
    assert_same(B, as_csc(B), mild(B, sigma=0.5), emulated)


def test_neurons_with_few_neighbours_in_common(emulated):
    """No layers, many neighbours: merged rows go to the host."""
    rng = np.random.default_rng(0)
    leave, enter = rng.integers(-1, 300, (2, 30000))
    enter[leave == enter] = -1
    B = problems.from_ends(leave, enter, 300)
    for options in ({}, {"method": "newton"}, {"method": "cd", "tol": 0.0, "max_sweeps": 5}):
        assert_same(B, as_csc(B), mild(B), emulated, **options)


def test_weights_far_apart(emulated):
    """Beyond what levels bear, and beyond what sums bear at all."""
    B = shuffled(problems.layered(np.random.default_rng(0)).B)
    g = mild(B)
    g[::5] *= 1e-220
    on_host = pc.solve(B, g.numpy(), tol=SHARP)
    found = pc.solve(as_csc(B), g, tol=SHARP)
    assert emulated.solved == 1 and found.status == on_host.status
    assert np.abs(found.u.numpy() - on_host.u).max() <= 1e-6
    for factor in (1e-300, 1e300):
        assert_same(B, as_csc(B), factor * mild(B), emulated)
    g = mild(B)
    g[0], g[1] = 1e308, 5e-324
    with pytest.raises(pc.InvalidInputError, match=r"too small next to the largest"):
        pc.solve(as_csc(B), g)
    assert emulated.refused == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, -np.inf])
@pytest.mark.parametrize("at", [0, 1000, -1])
def test_an_unusable_entry_is_named(value, at, emulated):
    B = shuffled(problems.layered(np.random.default_rng(0)).B)
    g = mild(B)
    g[at] = value
    with pytest.raises(pc.InvalidInputError, match=rf"g\[{at % len(g)}\] is"):
        pc.solve(as_csc(B), g)
    assert emulated.refused == 1


def test_few_rows_and_none(emulated):
    one = sp.csc_array(np.array([[0, 1, 0]], np.int8))
    for matrix in (one, -one, 0 * one, sp.csc_array((1, 0), dtype=np.int8)):
        assert_same(matrix, as_csc(matrix), torch.ones(1), emulated)
    B = shuffled(problems.layered(np.random.default_rng(0)).B)
    nothing = assert_same(B, as_csc(B), torch.zeros(B.shape[0]), emulated)
    assert nothing.frozen.all() and nothing.rows == 0
    alone = torch.zeros(B.shape[0])
    alone[17] = 3
    assert_same(B, as_csc(B), alone, emulated)
    wide = sp.hstack([sp.csc_array((B.shape[0], 5), dtype=np.int8), B], format="csc")
    found = assert_same(wide, as_csc(wide), mild(B), emulated)
    assert found.frozen[:5].all() and not found.frozen[5:].any()


def test_unsorted_columns_and_zeros_that_are_stored(emulated):
    B = shuffled(problems.layered(np.random.default_rng(0)).B)
    g = mild(B)
    expected = pc.solve(as_csc(B), g).u
    matrix = as_csc(B.copy())
    for h in range(B.shape[1]):
        column = slice(int(B.indptr[h]), int(B.indptr[h + 1]))
        matrix.row_indices()[column] = matrix.row_indices()[column].flip(0)
        matrix.values()[column] = matrix.values()[column].flip(0)
    assert torch.equal(pc.solve(matrix, g).u, expected)
    coo = B.tocoo()
    rows, columns = np.random.default_rng(0).integers(0, B.shape, (500, 2)).T
    untouched = np.asarray(sp.csr_array(B)[rows, columns]).ravel() == 0
    cells = np.unique(np.stack([columns, rows])[:, untouched], axis=1)
    column = np.concatenate([coo.col, cells[0]])
    order = np.argsort(column, kind="stable")
    filled = sp.csc_array(
        (
            np.concatenate([coo.data, np.zeros(cells.shape[1], np.int8)])[order],
            np.concatenate([coo.row, cells[1]])[order],
            np.concatenate([[0], np.cumsum(np.bincount(column, minlength=B.shape[1]))]),
        ),
        B.shape,
    )
    assert filled.nnz > B.nnz
    assert torch.equal(pc.solve(as_csc(filled), g).u, expected)
    assert emulated.refused == 0


def test_repeated_rows_go_to_the_host(emulated):
    """Where they cancel, where they add up, and where they are as many as there were."""
    for rows, values in (
        ([0, 1, 1, 2], [-1, 1, -1, 1]),
        ([0, 1, 1, 2], [-1, 1, 1, 1]),
        ([0, 1, 1, 2], [-1, -1, -1, 1]),
    ):
        indptr = torch.tensor([0, 4])
        matrix = torch.sparse_csc_tensor(
            indptr, torch.tensor(rows), torch.tensor(values), (3, 1), check_invariants=False
        )
        dense = np.zeros((3, 1))
        np.add.at(dense[:, 0], rows, values)
        g = torch.tensor([1.0, 2.0, 3.0])
        emulated.refused = 0
        found = pc.solve(matrix, g)
        assert emulated.refused == 1
        np.testing.assert_allclose(found.u, pc.solve(dense, g.numpy()).u, atol=SAME)


def large_and_shuffled(dtype):
    graph = built([((150, 500), 0, None), ((150, 150, 9), 1, 0), ((10, 150), None, 1)])
    B = shuffled(graph.incidence())
    return B, mild(B, sigma=1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_and_copies(dtype, emulated, no_large_copies):
    """Merged weights stay where they are; numbers per neuron, and per two layers, do not."""
    B, g = large_and_shuffled(dtype)
    rows, neurons = B.shape
    matrix = as_csc(B)
    no_large_copies(neurons)
    for options in ({}, {"method": "cd"}, {"method": "newton"}):
        emulated.on_host = emulated.on_device = 0
        result = pc.solve(matrix, g, **options)
        assert result.v.shape == g.shape and result.gradient_norm <= 1e-6
        assert emulated.on_host <= 800 * neurons + 2**17 < 2 * rows
        assert emulated.on_device <= (16.3 + 2 * g.element_size()) * rows + 2000 * neurons
    assert emulated.solved == 3 and emulated.refused == 0


def test_too_little_memory(emulated):
    B, g = large_and_shuffled(torch.float32)
    matrix = as_csc(B)
    pc.solve(matrix, g)
    taken = emulated.on_device
    for emulated.bytes_left in (0, 8 * B.shape[0], taken - 1000):
        with pytest.raises(pc.DeviceMemoryError):
            pc.solve(matrix, g)
    assert torch.equal(g, large_and_shuffled(torch.float32)[1])


def test_the_host_waits_for_numbers_only(emulated, monkeypatch):
    """Not for passes of the sort: what B is, what neurons there are, and the sums."""
    for problem in (problems.deep, problems.layered):
        graph = as_tensors(monkeypatch, problem, 0)
        B = shuffled(graph.incidence())
        result = pc.solve(as_csc(B), weights(graph))
        assert emulated.waits <= result.passes + 10
