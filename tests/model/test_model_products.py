"""New values of parameters: the same bits by every route, whatever their range."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from zoo import mlp

from pathcond_native.engine.factors import factors
from pathcond_native.model import rescale_, trace
from pathcond_native.model.apply import blocks, multipliers, rescale_parameters, rescaled_block


@pytest.fixture(scope="module")
def network():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 9, 3), nn.ReLU(), nn.Conv2d(9, 3, 1)
    )
    return model, trace(model, torch.randn(1, 2, 6, 6))


def redrawn(network, dtype, exponents, seed):
    """A copy whose new values, and old ones where possible, lie over the whole range."""
    model, graph = copy.deepcopy(network[0]).to(dtype), network[1]
    r, info = np.random.default_rng(seed), torch.finfo(dtype)
    least, most = np.log2(info.smallest_normal * info.eps), np.log2(info.max)
    moved = graph.multiply(exponents)
    for x, row in zip(model.parameters(), graph.parameters, strict=True):
        new = r.uniform(least, most - 1, row.size)
        old = np.clip(new + moved[row.offset : row.offset + row.size], -1080, 1023)
        values = r.choice([-1, 0, 1, 1], row.size) * 2.0**old
        x.data = torch.from_numpy(values.clip(-info.max, info.max)).reshape(row.shape).to(dtype)
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [3, 100, 500])
def test_every_route_gives_the_same_bits(network, dtype, spread):
    graph = network[1]
    for seed in range(5):
        exponents = np.random.default_rng(seed).uniform(-spread, spread, graph.shape[1])
        old = redrawn(network, dtype, exponents, seed)
        straight, transposed = copy.deepcopy(old), copy.deepcopy(old)
        for x in transposed.parameters():
            x.data = torch.stack([x.data, x.data], -1)[..., 0]
        lost = rescale_parameters(straight, graph, exponents)
        assert rescale_parameters(transposed, graph, exponents) == lost
        extended = graph.extended(exponents)
        routes = zip(*(m.parameters() for m in (old, straight, transposed)), strict=True)
        for number, (x, new, other) in enumerate(routes):
            assert torch.equal(new, other)
            pair = factors(graph, extended, number)
            if pair is None:  # the last bias
                continue
            both = multipliers(pair, x.dim())
            for place in blocks(tuple(x.shape), 20):
                piece = rescaled_block("x", x.detach()[place], both, place)
                assert torch.equal(piece, new.detach()[place])


@pytest.mark.parametrize("exact", [False, True])
def test_a_denormal_parameter_that_stays_keeps_its_bits(network, exact):
    """Its two factors, 2^-800 and 2^800, take it out of the range of float64 in between."""
    model, graph = copy.deepcopy(network[0]).double(), network[1]
    exponents = np.zeros(graph.shape[1])
    exponents[[0, 6]] = -900.0  # the first neuron of each layer
    weight = model[2].weight.detach()
    kept = [1e-310, -5e-324, 3e-311, 1.7e308, 0.0, -0.0, 1.0, 2e-308, 1e-9]
    weight[0, 0] = torch.tensor(kept, dtype=torch.float64).reshape(3, 3)
    before = weight.clone()
    lost = rescale_parameters(model, graph, exponents, exact=exact)
    assert torch.equal(weight[0, 0], before[0, 0]) and lost["2.weight"] == 0


def test_an_underflow_is_listed():
    """Entries of float16 that shrink to less than its smallest normal number lose bits."""
    model = mlp(4, 5, 3).half()
    with torch.no_grad():
        model[0].weight *= 100
        model[0].weight[0, 0] = 1e-4
    before = model[0].weight.detach().clone()
    report = rescale_(model, torch.randn(2, 4).half())
    tiny, after = torch.finfo(torch.float16).smallest_normal, model[0].weight.detach().abs()
    lost = int(((after < tiny) & (after < before.abs())).sum())
    assert report.underflow["parameter '0.weight'"] == lost > 0
    assert "underflow" in str(report) and "of parameter '0.weight'" in str(report)
    assert rescale_(mlp(4, 5, 3), torch.randn(2, 4)).underflow == {}
