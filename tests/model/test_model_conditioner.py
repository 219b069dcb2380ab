"""PathConditioner in training loops: when it acts, what it leaves alone, and how it resumes."""

import copy
import importlib
import io
import math

import numpy as np
import pytest
import torch
from torch import nn, optim
from training_zoo import batch, everything, train
from zoo import ZOO, Net, mlp, trained

from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import PathConditioner, rescale_, trace

conditioner_module = importlib.import_module("pathcond_native.model.conditioner")

SHAPE = (16, 6)
X = batch(0, *SHAPE)


def unbalanced() -> nn.Module:
    """A network that starts far from the optimum."""
    model = mlp(6, 20, 15, 10, 1).double()
    with torch.no_grad():
        for k, x in enumerate(model.parameters()):
            x *= 8.0 ** (-1) ** (k // 2)
    return model


def momentum(model: nn.Module, lr: float = 0.01) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({"every": 3}, [3, 6, 9, 12]),
        ({"every": 5, "first": 1}, [1, 6, 11]),
        ({"every": 1, "first": 10}, [10, 11, 12]),
        ({"every": 2, "max_times": 2}, [2, 4]),
        ({"every": 20}, []),
    ],
)
def test_when_a_rescaling_is_due(options, due):
    model = unbalanced()
    conditioner = PathConditioner(model, momentum(model), X, verify=False, **options)
    assert conditioner.last_report is None and conditioner.reports == ()
    reports = {step: conditioner.step() for step in range(1, 13)}
    assert [step for step, report in reports.items() if report is not None] == due
    assert conditioner.reports == tuple(reports[step] for step in due)
    assert (conditioner.steps, conditioner.times) == (12, len(due))
    forced = conditioner.rescale()
    assert conditioner.last_report is forced and forced.neurons == 45
    assert (conditioner.steps, conditioner.times) == (12, len(due))


def test_it_is_rescale_with_the_optimizer(monkeypatch):
    """Traced once; options are handed on; wrapped or not."""
    model = unbalanced()
    twin = copy.deepcopy(model)
    options = {"strength": 0.5, "round_to": "power_of_two", "method": "cd", "max_sweeps": 3}
    first, second = momentum(model), momentum(twin)
    conditioner = PathConditioner(nn.DataParallel(model), first, X, every=1, **options)
    graph = trace(twin, X)
    monkeypatch.setattr(conditioner_module, "trace", None)
    for steps in (range(3), range(3, 5)):
        train(model, first, steps, SHAPE)
        train(twin, second, steps, SHAPE)
        report = conditioner.step()
        expected = rescale_(twin, X, graph=graph, optimizer=second, **options)
        assert report.objective == expected.objective != report.initial_objective
        assert report.verification == expected.verification and "trace" not in report.seconds
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(a.grad, b.grad)
        assert torch.equal(first.state[a]["momentum_buffer"], second.state[b]["momentum_buffer"])


def test_compiled_models():
    model = unbalanced()
    compiled = torch.compile(model, backend="eager")
    optimizer = momentum(compiled)
    conditioner = PathConditioner(compiled, optimizer, X, every=2)
    for step in range(4):
        train(compiled, optimizer, range(step, step + 1), SHAPE)
        conditioner.step()
    assert len(conditioner.reports) == 2 and conditioner.last_report.neurons == 45


@pytest.mark.parametrize("how", ["not due", "strength", "rounded at the optimum"])
def test_a_rescaling_by_one_keeps_training_bit_identical(how):
    """With batch statistics and dropout: the random numbers stay the same, too."""
    model = nn.Sequential(trained(ZOO["norm1d"].build(torch.float64)), nn.Dropout(0.5))
    x = batch(0, 8, 2, 6)
    options = {"every": 100} if how == "not due" else {"every": 1, "strength": 0.0}
    if how == "rounded at the optimum":
        rescale_(model, x)
        options = {"every": 1, "round_to": "power_of_two"}
    runs = []
    for conditioned in (False, True):
        torch.manual_seed(5)
        net = copy.deepcopy(model)
        optimizer = optim.Adam(net.parameters(), lr=1e-4)
        conditioner = PathConditioner(net, optimizer, x, **options)
        for step in range(4):
            train(net, optimizer, range(step, step + 1), (8, 2, 6))
            before = everything(net, optimizer)
            if conditioned:
                conditioner.step()
            assert everything(net, optimizer) == before
        runs.append((net, optimizer))
    assert same_training(*runs)


def same_training(one, other) -> bool:
    """Whether two pairs of model and optimiser hold the same bits."""
    (a, first), (b, second) = one, other
    pairs = [*zip(a.state_dict().values(), b.state_dict().values(), strict=True)]
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        pairs += [(first.state[x][key], second.state[y][key]) for key in first.state[x]]
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD])
def test_a_resumed_checkpoint_goes_on_identically(kind):
    options = {"lr": 0.01} if kind is optim.Adam else {"lr": 0.01, "momentum": 0.9}

    def start():
        torch.manual_seed(3)
        model = unbalanced()
        optimizer = kind(model.parameters(), **options)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        return [model, optimizer, schedule, PathConditioner(model, optimizer, X, every=4, first=2)]

    def go_on(parts, steps):
        model, optimizer, schedule, conditioner = parts
        for step in steps:
            train(model, optimizer, range(step, step + 1), SHAPE)
            schedule.step()
            conditioner.step()

    whole = start()
    go_on(whole, range(13))
    first = start()
    go_on(first, range(7))
    file = io.BytesIO()
    torch.save([x.state_dict() for x in first], file)
    file.seek(0)
    second = start()
    with torch.no_grad():
        second[0][0].weight.zero_()
    for x, state in zip(second, torch.load(file, weights_only=True), strict=True):
        x.load_state_dict(state)
    go_on(second, range(7, 13))
    assert same_training(whole[:2], second[:2])
    assert whole[3].state_dict() == second[3].state_dict() == {"steps": 13, "times": 3}
    assert len(second[3].reports) == 1


def test_bad_states():
    model = unbalanced()
    conditioner = PathConditioner(model, momentum(model), X, every=3)
    conditioner.load_state_dict({"steps": 4, "times": 1})
    for state in (None, {}, {"steps": 1}, {"steps": -1, "times": 0}, {"steps": 1, "times": "2"}):
        with pytest.raises(InvalidInputError, match=r"state: expected|expected an integer of"):
            conditioner.load_state_dict(state)
        assert conditioner.state_dict() == {"steps": 4, "times": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every: expected an integer of at least 1, got 0"),
        ({"every": 2.0}, "every: expected an integer of at least 1, got 2.0"),
        ({"every": True}, "every: expected an integer"),
        ({"every": 1, "first": 0}, "first: expected an integer of at least 1, got 0"),
        ({"every": 1, "max_times": -1}, "max_times: expected an integer"),
        ({"every": 1, "strenght": 1.0}, "strenght: no such option; expected some of criterion, m"),
        ({"every": 1, "graph": None}, "graph: no such option"),
        ({"every": 1, "strength": math.nan}, "strength: expected a finite number"),
        ({"every": 1, "round_to": 2}, "round_to: expected None or"),
        ({"every": 1, "verify": 1}, "verify: expected True or False"),
        ({"every": 1, "method": "best"}, "method"),
        ({"every": 1, "tol": -1.0}, "tol"),
        ({"every": 1, "max_sweeps": "10"}, "max_sweeps: expected an integer"),
        ({"every": 1, "threads": 0}, "threads: expected a positive integer"),
        ({"every": 1, "powers": {"a": "b"}}, "powers: expected a dict from state keys"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, message):
    model = unbalanced()
    with pytest.raises(InvalidInputError, match=message):
        PathConditioner(model, momentum(model), X, **options)


def test_bad_models_and_optimizers_are_refused_at_once():
    model = unbalanced()
    optimizer = momentum(model)
    for other in (None, model, optim.lr_scheduler.ConstantLR(optimizer)):
        with pytest.raises(InvalidInputError, match=r"expected a torch\.optim\.Optimizer, got"):
            PathConditioner(model, other, X, every=1)
    with pytest.raises(InvalidInputError, match="holds none of the model's parameters"):
        PathConditioner(copy.deepcopy(model), optimizer, X, every=1)
    with pytest.raises(InvalidInputError, match=r"expected torch\.nn\.Module"):
        PathConditioner(None, optimizer, X, every=1)
    with pytest.raises(InvalidInputError, match="example_inputs"):
        PathConditioner(model, optimizer, 3, every=1)
    with pytest.raises(InvalidInputError, match=r"LBFGS cannot follow .* history"):
        PathConditioner(model, optim.LBFGS(model.parameters()), X, every=1)


def test_its_representation():
    model = unbalanced()
    conditioner = PathConditioner(model, momentum(model), X, every=2, strength=0.5)
    conditioner.step()
    assert repr(conditioner) == (
        "PathConditioner(Sequential, SGD, every=2, first=2, max_times=None, strength=0.5, "
        "steps=1, times=0, neurons=45)"
    )


def test_a_step_that_raises_is_counted_and_changes_nothing():
    """The training branch is not equivariant once the flag is set."""

    def forward(s, x):
        h = s.a(x).relu()
        return s.b(h.tanh() if s.odd else h)

    model = Net(forward, a=nn.Linear(6, 5), b=nn.Linear(5, 1)).double()
    model.odd = False
    optimizer = momentum(model)
    conditioner = PathConditioner(model, optimizer, X, every=1)
    train(model, optimizer, range(2), SHAPE)
    model.odd = True
    before = everything(model, optimizer)
    with pytest.raises(VerificationError, match="evaluation mode"):
        conditioner.step()
    assert everything(model, optimizer) == before
    assert conditioner.state_dict() == {"steps": 1, "times": 0} and not conditioner.reports
    model.odd = False
    assert conditioner.step() is not None


def test_gradient_scaling_and_autocast():
    """Also in a step whose gradients overflow, which the scaler skips."""
    model = mlp(6, 20, 15, 1)
    average = copy.deepcopy(model)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    conditioner = PathConditioner(model, optimizer, X.float(), every=1)
    kept = [x.clone() for x in average.parameters()]
    losses = []
    for step in range(6):
        optimizer.zero_grad()
        x = batch(step, *SHAPE, dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (model(x) - 1).square().mean()
        scaler.scale(loss).backward()
        if step == 2:
            model[2].weight.grad[1, 1] = math.inf
        steps = [int(state["step"]) for state in optimizer.state.values()]
        scaler.step(optimizer)
        if step == 2:
            assert steps == [int(state["step"]) for state in optimizer.state.values()]
        scaler.update()
        assert conditioner.step().neurons == 35
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    assert all(bool(x.isfinite().all()) for x in model.parameters())
    assert all(map(torch.equal, kept, average.parameters()))


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_an_unbalanced_network_trains_better(kind):
    """The best of three learning rates for each, since conditioning changes which is best."""
    teacher = torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def final(lr, conditioned):
        torch.manual_seed(0)
        model = unbalanced()
        adam = kind == "adam"
        optimizer = optim.Adam(model.parameters(), lr) if adam else momentum(model, lr)
        conditioner = PathConditioner(model, optimizer, X, every=50, first=1)
        losses = []
        for step in range(200):
            x = batch(step, 32, 6)
            loss = (model(x) - (x @ teacher).abs()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if conditioned:
                conditioner.step()
            losses.append(loss.item())
        return float(np.mean(losses[-20:]))

    rates = (0.003, 0.01, 0.03)
    plain, conditioned = (min(final(lr, x) for lr in rates) for x in (False, True))
    assert conditioned < 0.5 * plain
