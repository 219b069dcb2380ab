"""Gradients and optimiser state follow a rescaling: the definition, replayed step by step."""

import copy

import numpy as np
import pytest
import torch
from torch import nn, optim
from training_zoo import OPTIMIZERS, batch, choose, everything, factors, network, train
from zoo import mlp

from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import rescale_
from pathcond_native.model.optimizer_powers import POWERS

SHAPE = (16, 6)


def test_every_optimizer_of_torch_is_in_the_table():
    names = {
        name
        for name, kind in vars(optim).items()
        if isinstance(kind, type) and issubclass(kind, optim.Optimizer)
    }
    assert names - {"Optimizer"} <= set(POWERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_there_and_back_is_as_if_nothing_had_happened(name, monkeypatch):
    model, graph, log2 = network()
    twin = copy.deepcopy(model)
    optimizer, other = (OPTIMIZERS[name](m.parameters()) for m in (model, twin))
    choose(monkeypatch, log2)
    train(model, optimizer, range(5), SHAPE)
    between = []
    for strength in (1.0, -1.0):
        rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer, strength=strength)
        between.append(everything(model, optimizer))
    train(model, optimizer, range(5, 10), SHAPE)
    train(twin, other, range(10), SHAPE)
    assert between[0] != between[1]
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        for key, value in other.state.get(b, {}).items():
            torch.testing.assert_close(optimizer.state[a][key], value, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"asgd"}))
def test_the_state_is_what_gradients_in_the_new_coordinates_would_have_made(name, monkeypatch):
    """Replayed with a new optimiser that sees g / s; then both take one more step."""
    model, graph, log2 = network()
    s = factors(graph, log2)
    choose(monkeypatch, log2)
    optimizer = OPTIMIZERS[name](model.parameters())
    history = []
    for step in range(5):
        train(model, optimizer, range(step, step + 1), SHAPE)
        history.append([x.grad.clone() for x in model.parameters()])
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    fresh = copy.deepcopy(model)
    replayed = OPTIMIZERS[name](fresh.parameters())
    for gradients in history:
        for x, gradient, factor in zip(fresh.parameters(), gradients, s, strict=True):
            x.grad = gradient / factor
        replayed.step()
    compare(model, optimizer, fresh, replayed)
    with torch.no_grad():
        for a, b, factor in zip(model.parameters(), fresh.parameters(), s, strict=True):
            b.copy_(a)
            a.grad = b.grad = torch.ones_like(a) / factor
    optimizer.step()
    replayed.step()
    for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def compare(model, optimizer, fresh, replayed):
    for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=0)
        assert set(optimizer.state.get(a, {})) == set(replayed.state.get(b, {}))
        for key, value in replayed.state.get(b, {}).items():
            # Centred RMSprop subtracts what nearly cancels; Adamax adds eps to gradients of 0.
            torch.testing.assert_close(optimizer.state[a][key], value, rtol=1e-9, atol=1e-50)


def test_averaged_points_move_as_points_do(monkeypatch):
    """ASGD's average is what it would be had the points been visited in the new coordinates."""
    model, graph, log2 = network()
    s = factors(graph, log2)
    choose(monkeypatch, log2)
    optimizer = OPTIMIZERS["asgd"](model.parameters())
    fresh = copy.deepcopy(model)
    still = optim.ASGD(fresh.parameters(), lr=0.0, t0=0, lambd=0.0)
    for step in range(5):
        train(model, optimizer, range(step, step + 1), SHAPE)
        with torch.no_grad():
            for x, point, factor in zip(fresh.parameters(), model.parameters(), s, strict=True):
                x.copy_(factor * point)
                x.grad = torch.zeros_like(x)
        still.step()
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    for a, b in zip(model.parameters(), fresh.parameters(), strict=True):
        assert not torch.allclose(optimizer.state[a]["ax"], a, rtol=1e-6)
        for key in ("ax", "mu", "step"):
            torch.testing.assert_close(
                optimizer.state[a][key], still.state[b][key], rtol=1e-12, atol=0
            )


def test_groups_frozen_foreign_and_missing_parameters(monkeypatch):
    model, graph, log2 = network()
    choose(monkeypatch, log2)
    s = factors(graph, log2)
    model[2].weight.requires_grad_(False)
    foreign = nn.Parameter(torch.ones(4, dtype=torch.float64))
    groups = [
        {"params": [model[0].weight, foreign], "lr": 0.1},
        {"params": [model[0].bias, model[2].weight, model[4].weight], "betas": (0.5, 0.6)},
    ]  # the biases of the second and third layer are nobody's
    optimizer = optim.Adam(groups, lr=0.01)
    schedule = optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    foreign.grad = torch.ones_like(foreign)
    model(batch(0, *SHAPE)).sum().backward()
    optimizer.step()
    schedule.step()
    old = copy.deepcopy(dict(optimizer.state))
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    values = [p.detach().clone() for p in model.parameters()]
    objects = [list(state.values()) for state in optimizer.state.values()]
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    assert [list(map(id, x)) for x in objects] == [
        list(map(id, state.values())) for state in optimizer.state.values()
    ]
    states = dict(zip(optimizer.state, old.values(), strict=True))
    assert set(states) == {model[0].weight, foreign, model[0].bias, model[4].weight}
    for key, value in states.pop(foreign).items():
        assert torch.equal(optimizer.state[foreign][key], value)
    for p, value, grad, factor in zip(model.parameters(), values, grads, s, strict=True):
        torch.testing.assert_close(p.detach(), value * factor, rtol=1e-12, atol=0)
        assert (p.grad is None) == (grad is None)
        if grad is not None:
            torch.testing.assert_close(p.grad, grad / factor, rtol=1e-12, atol=0)
        if p in states:
            now = optimizer.state[p]
            assert torch.equal(now["step"], states[p]["step"])
            for key, power in (("exp_avg", -1), ("exp_avg_sq", -2)):
                expected = states[p][key] * factor**power
                torch.testing.assert_close(now[key], expected, rtol=1e-12, atol=0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.005]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_entry_is_rounded_once(dtype, monkeypatch):
    model, graph, log2 = network()
    choose(monkeypatch, log2)
    s = factors(graph, log2)
    model.to(dtype)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, range(3), SHAPE)
    expected = [
        [
            (optimizer.state[p][key].double() * f**power).to(dtype)
            for key, power in (("exp_avg", -1), ("exp_avg_sq", -2))
        ]
        for p, f in zip(model.parameters(), s, strict=True)
    ]
    rescale_(model, batch(0, *SHAPE, dtype=dtype), graph=graph, optimizer=optimizer)
    for p, wanted in zip(model.parameters(), expected, strict=True):
        for key, value in zip(("exp_avg", "exp_avg_sq"), wanted, strict=True):
            found = optimizer.state[p][key]
            assert found.dtype == dtype
            # The oracle's factors are products of rounded ones: a tie may fall the other way.
            assert float((found != value).double().mean()) < 0.01


def test_an_optimizer_without_state_yet():
    model, graph, _ = network()
    optimizer = optim.Adam(model.parameters())
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=optimizer)
    assert not optimizer.state
    sums = optim.Adagrad(model.parameters(), initial_accumulator_value=0.5)
    rescale_(model, batch(0, *SHAPE), graph=graph, optimizer=sums, strength=0.5)
    assert all(bool((state["sum"] == 0.5).all()) for state in sums.state.values())


@pytest.mark.parametrize("what", ["state", "gradient"])
def test_overflow_is_refused(what, monkeypatch):
    model, graph, _ = network()
    model.float()
    choose(monkeypatch, np.full(16, -3.0))
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, range(1), SHAPE)
    tensor = optimizer.state[model[0].bias]["exp_avg_sq"] if what == "state" else model[0].bias.grad
    tensor[2] = 1e38
    before = everything(model, optimizer)
    with pytest.raises(
        VerificationError, match=rf"the {what} .*parameter '0\.bias' would overflow"
    ):
        rescale_(model, batch(0, *SHAPE, dtype=torch.float32), graph=graph, optimizer=optimizer)
    assert everything(model, optimizer) == before


def test_powers_of_two_move_state_exactly():
    model, graph, _ = network()
    with torch.no_grad():
        model[0].weight *= 100
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, range(3), SHAPE)
    old = {key: x.clone() for key, x in optimizer.state[model[0].weight].items()}
    options = {"graph": graph, "optimizer": optimizer, "round_to": "power_of_two"}
    rescale_(model, batch(0, *SHAPE), **options)
    for key in ("exp_avg", "exp_avg_sq"):
        ratio = optimizer.state[model[0].weight][key] / old[key]
        assert torch.equal(ratio.log2(), ratio.log2().round()) and bool((ratio != 1).any())


def test_models_without_neurons():
    model = mlp(6, 3).double()
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer, range(1), SHAPE)
    before = everything(model, optimizer)
    report = rescale_(model, batch(0, *SHAPE), optimizer=optimizer)
    assert report.nothing_because and everything(model, optimizer) == before


def test_powers_need_an_optimizer():
    with pytest.raises(InvalidInputError, match="powers: expected None where no optimizer"):
        rescale_(mlp(4, 5, 3), torch.randn(2, 4), powers={})


@pytest.mark.parametrize("there", [0.0, 0.25])
def test_adagrad_starts_where_its_checkpoint_says(there, monkeypatch):
    """Loading takes the initial value of the sums along, into the groups and not the defaults."""
    model, graph, log2 = network()
    optimizer = optim.Adagrad(model.parameters(), initial_accumulator_value=0.5)
    train(model, optimizer, range(3), SHAPE)
    twin = copy.deepcopy(model)
    loaded = optim.Adagrad(twin.parameters(), initial_accumulator_value=there)
    loaded.load_state_dict(optimizer.state_dict())
    choose(monkeypatch, log2)
    for m, o in ((model, optimizer), (twin, loaded)):
        o.zero_grad()
        rescale_(m, batch(0, *SHAPE), graph=graph, optimizer=o)
    for a, b in zip(optimizer.state.values(), loaded.state.values(), strict=True):
        assert torch.equal(a["sum"], b["sum"])


def test_a_gradient_whose_entries_share_memory():
    model = mlp(3, 4, 2)
    optimizer = optim.SGD(model.parameters(), 0.1)
    weight = next(model.parameters())
    weight.grad = torch.ones(1).expand(weight.shape)
    with pytest.raises(InvalidInputError, match="share one place in memory"):
        rescale_(model, torch.randn(1, 3), optimizer=optimizer)
