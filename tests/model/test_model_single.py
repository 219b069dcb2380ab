"""diag(G) of float32 models in float32: as accurate as that is, or float64."""

import copy
import importlib

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, graph_of, mlp, trained

import pathcond_native as pc
from pathcond_native.model.lift import Lift
from pathcond_native.model.parts import reduced_parts
from pathcond_native.structured import Reduced

module = importlib.import_module("pathcond_native.model.diag_g")

ACCURATE = 1e-5
"""Relative, on sums of diag(G) in float32: some ten roundings of 6e-8 per layer."""


@pytest.fixture
def used(monkeypatch):
    """The dtypes that diag(G) was computed in; models of any size may use float32."""
    dtypes = []

    class Spy(Lift):
        def __init__(self, graph, model, dtype, **options):
            dtypes.append(dtype)
            super().__init__(graph, model, dtype, **options)

    monkeypatch.setattr(module, "Lift", Spy)
    monkeypatch.setattr(module, "_WORTHWHILE", 0)
    return dtypes


def flat(parts):
    arrays = [x.sums if isinstance(x, Reduced) else x.numpy() for x in parts]
    return np.concatenate([x.reshape(-1) for x in arrays])


def exact(model, graph):
    lift = Lift(graph, model, torch.float64)
    return flat(reduced_parts(graph, lift.differentiate, lift.device))


def assert_accurate(found, expected):
    """Up to one common factor, which the criterion ignores."""
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found > 0, expected > 0)
    ratio = found[expected > 0] / expected[expected > 0]
    np.testing.assert_allclose(ratio, np.median(ratio) if len(ratio) else 1.0, rtol=ACCURATE)


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.neurons])
def test_it_is_accurate(name, used):
    model = trained(ZOO[name].build())
    graph = graph_of(name)
    assert_accurate(flat(module.reduced_diag_g(model, graph)), exact(model, graph))
    assert used == [torch.float32]


def test_depth_and_scale_do_not_matter(used):
    model = mlp(5, *[12] * 60, 4)
    with torch.no_grad():
        for k, x in enumerate(model.parameters()):
            x.mul_(1e15 if k % 3 else 1e-15)
    graph = pc.trace(model, torch.ones(1, 5))
    assert_accurate(flat(module.reduced_diag_g(model, graph)), exact(model, graph))


def pruned(model):
    with torch.no_grad():
        model[0].weight[torch.rand_like(model[0].weight) < 0.8] = 0
        model[2].weight[1] = 0
        model[2].bias[1] = 0
    return model


def test_zeros_are_no_reason_for_float64(used):
    model = pruned(mlp(8, 9, 7, 3))
    graph = pc.trace(model, torch.ones(1, 8))
    assert_accurate(flat(module.reduced_diag_g(model, graph)), exact(model, graph))
    assert used == [torch.float32]


def decayed(size):
    """Everything that enters one neuron is far smaller than the rest."""
    model = mlp(8, 9, 7, 3)
    with torch.no_grad():
        model[2].weight[1] *= size
        model[2].bias[1] *= size
    return model


def one_small_entry():
    model = mlp(8, 9, 7, 3)
    with torch.no_grad():
        model[2].weight[1, 2] = 1e-30
    return model


def far_branches():
    """A sum of two branches, one of which would vanish beside the other."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            with torch.no_grad():
                self.a.weight.mul_(1e-18)
                self.a.bias.mul_(1e-18)

        def forward(self, x):
            return self.c(self.a(x).relu()) + 1e18 * self.c(self.b(x).relu())

    return Branches()


@pytest.mark.parametrize(
    "make", [lambda: decayed(1e-20), lambda: decayed(1e-25), one_small_entry, far_branches]
)
def test_entries_too_far_apart_are_left_to_float64(make, used):
    model = make()
    first = next(model.parameters())
    graph = pc.trace(model, torch.ones(1, first.shape[1]))
    found = flat(module.reduced_diag_g(model, graph))
    assert used == [torch.float32, torch.float64]
    np.testing.assert_array_equal(found, exact(model, graph))


@pytest.mark.parametrize("size", 10.0 ** np.arange(-30.0, 1.0, 2.0))
def test_nothing_vanishes_unnoticed(size, used):
    model = decayed(size)
    graph = pc.trace(model, torch.ones(1, 8))
    assert_accurate(flat(module.reduced_diag_g(model, graph)), exact(model, graph))


def test_where_it_is_not_used(monkeypatch):
    small, x = mlp(4, 5, 3), torch.ones(1, 4)
    graph = pc.trace(small, x)
    assert not module._single_suffices(small)
    monkeypatch.setattr(module, "_WORTHWHILE", 0)
    assert module._single_suffices(small)
    assert module._single_suffices(copy.deepcopy(small).bfloat16())
    assert not module._single_suffices(copy.deepcopy(small).double())
    double = copy.deepcopy(small).double()
    found = flat(module.reduced_diag_g(double, graph))
    np.testing.assert_array_equal(found, exact(double, graph))


def test_autocasting_does_not_apply(used):
    """It would round every product to bfloat16, without a word."""
    model, x = mlp(4, 50, 30, 3), torch.ones(1, 4)
    graph = pc.trace(model, x)
    expected = flat(module.reduced_diag_g(model, graph))
    whole = pc.diag_g(model, x, graph=graph, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flat(module.reduced_diag_g(model, graph))
        assert torch.equal(pc.diag_g(model, x, graph=graph, dtype=torch.float32), whole)
        assert torch.is_autocast_enabled("cpu"), "as it was"
    assert set(used) == {torch.float32}
    np.testing.assert_array_equal(found, expected)


def test_a_large_model_is_rescaled_so():
    """A million parameters and more: at the optimum to what rounding its parameters allows."""
    model, x = mlp(600, 900, 600, 10), torch.randn(2, 600)
    with torch.no_grad():
        model[0].weight *= torch.logspace(-1, 1, 900)[:, None]
    assert module._single_suffices(model)
    before = model(x).detach()
    report = pc.rescale_(model, x)
    assert report.result.converged and report.gradient_norm <= 1e-12
    assert (model(x) - before).abs().max() <= 1e-5 * before.abs().max()
    graph = pc.trace(model, x)
    g = pc.diag_g(model, x, graph=graph)
    assert pc.solve(graph, g, max_sweeps=0).gradient_norm <= 1e-8
