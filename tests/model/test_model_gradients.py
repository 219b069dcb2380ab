"""Gradients follow a rescaling: they are those of the rescaled network, wherever they are kept."""

import math

import numpy as np
import pytest
import torch
from torch import nn, optim
from training_zoo import batch, choose, factors, network, train
from zoo import ZOO, graph_of

from pathcond_native.model import rescale_

SHAPE = (16, 6)
CASES = ["mlp", "norm2d", "residual", "grouped", "branches", "square", "tied", "reused", "prelu"]
CASES += ["sharing_storage", "raw_parameter", "transposed_weight", "layer_norm", "double_add"]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_rescaled_network(name, monkeypatch):
    """In training mode, and with gradients that are accumulating."""
    case = ZOO[name]
    model, graph = case.build(torch.float64), graph_of(name)
    choose(monkeypatch, np.random.default_rng(0).uniform(-2, 2, case.neurons))
    x = torch.randn(case.inputs, dtype=torch.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def gradients():
        optimizer.zero_grad()
        (model(x.clone()) - 1).square().mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    before = gradients()
    grads = [p.grad for p in model.parameters()]
    rescale_(model, x, graph=graph, optimizer=optimizer)
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(grads, before, strict=True))
    found = [grad.clone() for grad in grads]
    expected = gradients()
    noise = 1e-13 * max(float(grad.abs().max()) for grad in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=noise)


def test_entries_that_were_not_finite_stay(monkeypatch):
    """A gradient scaler skips steps whose gradients overflowed, but the gradients are there."""
    model, graph, log2 = network()
    choose(monkeypatch, log2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, range(1), SHAPE)
    model[0].weight.grad[0] = torch.tensor([math.inf, -math.inf, math.nan, 0.0, 1.0, -1.0])
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    found = model[0].weight.grad[0]
    assert found[:2].tolist() == [math.inf, -math.inf] and bool(found[2].isnan())
    assert bool(found[3:].isfinite().all())


def test_memory_that_gradients_and_state_share(monkeypatch):
    """A buffer that is the gradient itself is rescaled once; so is one that a module holds."""
    model, graph, log2 = network()
    s = factors(graph, log2)
    choose(monkeypatch, log2)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, range(1), SHAPE)
    for p in model.parameters():
        optimizer.state[p]["momentum_buffer"] = p.grad
    model[0].seen = model[0].weight.grad
    old = model[0].weight.grad.clone()
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    assert model[0].seen is optimizer.state[model[0].weight]["momentum_buffer"]
    torch.testing.assert_close(model[0].seen, old / s[0], rtol=1e-12, atol=0)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_gradients_that_are_views_of_buckets(monkeypatch):
    """As DistributedDataParallel keeps them: one storage for all parameters."""
    model, graph, log2 = network()
    s = factors(graph, log2)
    choose(monkeypatch, log2)
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        optimizer = optim.Adam(wrapped.parameters())
        train(wrapped, optimizer, range(3), SHAPE)
        old = [x.grad.clone() for x in model.parameters()]
        rescale_(wrapped, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
        for x, grad, factor in zip(model.parameters(), old, s, strict=True):
            torch.testing.assert_close(x.grad, grad / factor, rtol=1e-12, atol=0)
        train(wrapped, optimizer, range(3, 5), SHAPE)
    finally:
        dist.destroy_process_group()
