"""Incidence matrices and weights like those of networks, and some like those of none."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.sparse as sp

DATA = Path(__file__).parent / "data"
REFERENCES = ("conv_3_8_12_6_4", "mlp_20_32_16_24_5")


@dataclass(frozen=True)
class Incidence:
    """B, and for every row the number of the layer it belongs to."""

    B: sp.csc_array
    layer: np.ndarray


def reference(name):
    """B, g and the authors' iterates."""
    data = np.load(DATA / f"{name}.npz")
    shape = (len(data["g"]), len(data["indptr"]) - 1)
    return sp.csc_array((data["signs"], data["indices"], data["indptr"]), shape), data


def from_ends(leave, enter, neurons):
    """B (p, H) int8 from the neuron that every row leaves and enters, -1 for none."""
    leave, enter = np.asarray(leave), np.asarray(enter)
    rows = np.arange(len(leave))
    row = np.concatenate([rows[leave >= 0], rows[enter >= 0]])
    column = np.concatenate([leave[leave >= 0], enter[enter >= 0]])
    value = np.concatenate(
        [np.ones((leave >= 0).sum(), np.int8), -np.ones((enter >= 0).sum(), np.int8)]
    )
    B = sp.csc_array(sp.coo_array((value, (row, column)), (len(leave), neurons)))
    B.sum_duplicates()
    B.eliminate_zeros()
    return B


def network(widths, edges=None, taps=1):
    """Layers of neurons, all pairs joined along every edge (source, target) by `taps` weights.

    The first and the last node are input and output and have no neurons. Every edge also has one
    bias per target neuron. A node that is source and target of many edges is a residual stream.
    """
    edges = list(pairwise(range(len(widths)))) if edges is None else edges
    begin = np.concatenate([[0, 0], np.cumsum(widths[1:-1])])
    nodes = [np.full(widths[0], -1)]
    nodes += [begin[n] + np.arange(widths[n]) for n in range(1, len(widths) - 1)]
    nodes += [np.full(widths[-1], -1)]
    leave, enter, layer = [], [], []
    for number, (source, target) in enumerate(edges):
        a, b = nodes[source], nodes[target]
        leave += [np.repeat(np.tile(a, len(b)), taps), np.full(len(b), -1)]
        enter += [np.repeat(b, len(a) * taps), b]
        layer.append(np.full(len(b) * (len(a) * taps + 1), number))
    B = from_ends(np.concatenate(leave), np.concatenate(enter), int(begin[-1]))
    return Incidence(B, np.concatenate(layer))


def layered(r):
    return network([20, 32, 16, 24, 5])


def layered_kernels(r):
    return network([3, 12, 20, 8, 4], taps=9)


def deep(r):
    return network([5, *r.integers(4, 14, 60), 4])


def deep_kernels(r):
    return network([5, *r.integers(4, 10, 60), 4], taps=9)


def skips(r):
    """A directed acyclic graph."""
    widths = [5, *r.integers(4, 16, 30), 4]
    chain = pairwise(range(len(widths)))
    extra = [sorted(r.choice(len(widths), 2, replace=False)) for _ in range(40)]
    return network(widths, list(dict.fromkeys([*chain, *map(tuple, extra)])), taps=2)


def residual_stream(r):
    """One stream that 20 blocks read and write: cycles."""
    widths, edges = [3, 24], [(0, 1)]
    for _ in range(20):
        widths.append(12)
        edges += [(1, len(widths) - 1), (len(widths) - 1, 1)]
    return network([*widths, 10], [*edges, (1, len(widths))], taps=3)


def residual_stages(r):
    """Five streams one after the other, four blocks of two layers on each."""
    widths, edges, previous = [3], [], 0
    for _ in range(5):
        stream = len(widths)
        widths.append(int(r.integers(6, 16)))
        edges.append((previous, stream))
        for _ in range(4):
            first = len(widths)
            widths += r.integers(4, 12, 2).tolist()
            edges += [(stream, first), (first, first + 1), (first + 1, stream)]
        previous = stream
    return network([*widths, 10], [*edges, (previous, len(widths))], taps=2)


def self_stream(r):
    """Rows that leave and enter neurons of the same stream."""
    widths, edges = [3, 16], [(0, 1), (1, 1)]
    for _ in range(6):
        widths.append(8)
        edges += [(1, len(widths) - 1), (len(widths) - 1, 1)]
    return network([*widths, 5], [*edges, (1, len(widths))], taps=2)


def depthwise(r):
    """Channels that meet nowhere: many independent chains, coupled only by the total."""
    channels, stages = 60, 8
    chain = np.arange(channels)
    ends = [(np.full(3 * channels, -1), np.tile(chain, 3))]
    for stage in range(stages):
        source = np.repeat(stage * channels + chain, 9)
        ends.append((source, source + channels))
    ends.append((np.repeat(stages * channels + chain, 10), np.full(10 * channels, -1)))
    leave, enter = (np.concatenate(side) for side in zip(*ends, strict=True))
    layer = np.repeat(np.arange(len(ends)), [len(a) for a, _ in ends])
    return Incidence(from_ends(leave, enter, (stages + 1) * channels), layer)


def inverted_residuals(r):
    """A stream with expansion, depthwise kernels and projection."""
    channels, wide = np.arange(16), np.arange(32)
    leave, enter, begin = [np.full(48, -1)], [np.tile(channels, 3)], 16
    for _ in range(6):
        first, second = begin + wide, begin + 32 + wide
        leave += [np.tile(channels, 32), np.repeat(first, 9), np.tile(second, 16)]
        enter += [np.repeat(first, 16), np.repeat(second, 9), np.repeat(channels, 32)]
        begin += 64
    leave.append(np.repeat(channels, 10))
    enter.append(np.full(160, -1))
    layer = np.repeat(np.arange(len(leave)), [len(rows) for rows in leave])
    return Incidence(from_ends(np.concatenate(leave), np.concatenate(enter), begin), layer)


def random_pairs(r):
    """Rows that leave and enter any neuron or none, empty ones among them."""
    B = from_ends(r.integers(-1, 40, 600), r.integers(-1, 40, 600), 40)
    return Incidence(B, r.integers(0, 5, 600))


def _scattered(r, values):
    B = sp.random_array((900, 30), density=0.08, format="csc", random_state=r, data_sampler=values)
    return Incidence(B, r.integers(0, 5, 900))


def long_rows(r):
    """Values +1 and -1, rows with three and more entries and empty rows."""
    return _scattered(r, lambda size: r.choice([-1.0, 1.0], size))


def twos(r):
    return _scattered(r, lambda size: r.choice([-2.0, -1.0, 1.0, 2.0], size))


def real_values(r):
    return _scattered(r, lambda size: 2 * r.standard_normal(size))


def dense_real(r):
    return Incidence(sp.csc_array(r.standard_normal((100, 5))), r.integers(0, 5, 100))


def squared_relu(r):
    """Every third neuron has the column values +1 and -2."""
    plain = network([5, *[12] * 8, 4], taps=2)
    B = plain.B.copy()
    neuron = np.repeat(np.arange(B.shape[1]), np.diff(B.indptr))
    B.data[(neuron % 3 == 0) & (B.data < 0)] = -2
    return Incidence(B, plain.layer)


def one_neuron(r):
    B = sp.csc_array(np.array([[1, 1, -1, 1, 0, -1, 0]], np.int8).T)
    return Incidence(B, np.arange(7))


PAIRS = (
    layered,
    layered_kernels,
    deep,
    deep_kernels,
    skips,
    residual_stream,
    residual_stages,
    self_stream,
    depthwise,
    inverted_residuals,
    random_pairs,
    one_neuron,
)
GENERAL = (long_rows, twos, real_values, dense_real, squared_relu)


def mild(r, layer):
    return np.exp(r.standard_normal(len(layer)))


def decades_inside(r, layer):
    """30 decades inside every layer."""
    return 10.0 ** r.uniform(-15, 15, len(layer))


def decades_between(r, layer):
    """30 decades from layer to layer."""
    return mild(r, layer) * 10.0 ** r.uniform(-15, 15, layer.max() + 1)[layer]


def log_normal(r, layer):
    return np.exp(8 * r.standard_normal(len(layer)))


def two_scales(r, layer):
    """One row of a hundred outweighs the others by 30 decades."""
    return np.where(r.random(len(layer)) < 0.01, 1e30, 1.0)


def pruned(r, layer):
    return mild(r, layer) * (r.random(len(layer)) > 0.3)


WEIGHTS = (mild, decades_inside, decades_between, log_normal, pruned)
