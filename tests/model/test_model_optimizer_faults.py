"""Optimisers that are not understood, and failures at every moment: no bit of state is lost."""

import importlib

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import prune
from training_zoo import batch, everything, train
from zoo import Net, mlp

from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import rescale_, trace

rescale = importlib.import_module("pathcond_native.model.rescale")

SHAPE = (16, 6)
X = batch(0, *SHAPE)


def network() -> nn.Module:
    model = mlp(6, 9, 7, 3).double()
    with torch.no_grad():
        model[0].weight *= 10
    return model


class Sign(optim.Optimizer):
    """One of a user's own: the sign of an average of gradients; more state on request."""

    def __init__(self, parameters, **extra):
        super().__init__(parameters, {"lr": 0.01})
        self.extra = extra

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                if x.grad is not None:
                    state = self.state[x]
                    state.setdefault("average", torch.zeros_like(x)).lerp_(x.grad, 0.1)
                    state["count"] = state.get("count", 0) + 1
                    for key, make in self.extra.items():
                        state.setdefault(key, make(x))
                    x.sub_(state["average"].sign(), alpha=group["lr"])


def trained(optimizer: optim.Optimizer, model: nn.Module) -> optim.Optimizer:
    train(model, optimizer, range(3), SHAPE)
    return optimizer


def refused(model: nn.Module, optimizer: object, message: str, **options: object) -> None:
    """Raises before any work: nothing is traced."""
    optimizers = [optimizer] if isinstance(optimizer, optim.Optimizer) else []
    before = everything(model, *optimizers)
    with pytest.raises(InvalidInputError, match=message):
        rescale_(model, X, optimizer=optimizer, **options)
    assert everything(model, *optimizers) == before


@pytest.fixture
def untraced(monkeypatch):
    monkeypatch.setattr(rescale, "trace", None)


def test_an_optimizer_of_ones_own():
    model = network()
    optimizer = trained(Sign(model.parameters()), model)
    old = [optimizer.state[x]["average"].clone() for x in model.parameters()]
    values = [x.detach().clone() for x in model.parameters()]
    graph = trace(model, X)
    rescale_(model, X, graph=graph, optimizer=optimizer, powers={"average": -1})
    for x, average, value in zip(model.parameters(), old, values, strict=True):
        s = x.detach() / value
        torch.testing.assert_close(optimizer.state[x]["average"], average / s, rtol=1e-12, atol=0)
        assert optimizer.state[x]["count"] == 3
    before = [optimizer.state[x]["average"].clone() for x in model.parameters()]
    rescale_(model, X, graph=graph, optimizer=optimizer, powers={"average": 0}, strength=0.3)
    assert all(
        torch.equal(optimizer.state[x]["average"], y)
        for x, y in zip(model.parameters(), before, strict=True)
    )


@pytest.mark.usefixtures("untraced")
def test_unknown_optimizers_and_unknown_state():
    model = network()
    own = trained(Sign(model.parameters()), model)
    refused(model, own, r"Sign is unknown; say by powers=\{key: power\}")
    refused(model, own, r"Sign keeps a tensor 'average' of parameter '0\.weight'", powers={})

    class Slow(optim.Adam):
        """Adam beside which slow weights are kept."""

    slow = trained(Slow(model.parameters()), model)
    slow.state[model[2].bias]["slow"] = [torch.zeros(7)]
    refused(model, slow, r"Slow keeps a tensor 'slow' of parameter '2\.bias' whose meaning is unkn")
    refused(model, slow, "is no tensor, but list", powers={"slow": 1})


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: torch.zeros(3), r"is torch\.float32 of shape \(3,\); expected real numbers of"),
        (lambda x: torch.zeros_like(x, dtype=torch.int32), r"is torch\.int32 of shape"),
        (lambda x: torch.zeros_like(x, dtype=torch.complex64), r"is torch\.complex64 of shape"),
        (lambda x: torch.zeros_like(x).to_sparse(), r"of layout torch\.sparse_coo"),
        (lambda x: 1.0, "is no tensor, but float"),
    ],
)
def test_state_of_another_kind(make, message):
    model = network()
    optimizer = trained(Sign(model.parameters(), odd=make), model)
    refused(model, optimizer, message, powers={"average": -1, "odd": -2})


def test_declared_state_that_stays_may_be_anything():
    model = network()
    optimizer = trained(Sign(model.parameters(), odd=lambda x: torch.zeros(3).to_sparse()), model)
    optimizer.state[model[0].weight]["none"] = None
    rescale_(model, X, optimizer=optimizer, powers={"average": -1, "odd": 0, "none": 2})


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("powers", [3, [("a", 1)], {1: 1}, {"a": "1"}, {"a": None}, {"a": True}])
def test_unusable_powers(powers):
    model = network()
    message = "powers: expected a dict from state keys to (finite )?numbers, got"
    refused(model, Sign(model.parameters()), message, powers=powers)
    refused(model, Sign(model.parameters()), message, powers={"a": float("nan")})


@pytest.mark.usefixtures("untraced")
def test_optimizers_whose_state_cannot_follow():
    model = network()
    refused(model, optim.Adafactor(model.parameters()), "Adafactor cannot follow .* rows and col")
    refused(model, optim.LBFGS(model.parameters()), "LBFGS cannot follow .* make a new one")
    refused(model, optim.SGD(network().parameters(), lr=1.0), "holds none of the model's param")
    refused(model, "SGD", r"optimizer: expected a torch\.optim\.Optimizer, got str")
    sums = trained(optim.Adagrad(model.parameters(), initial_accumulator_value=2.0), model)
    sums.state[model[0].weight]["sum"][0, 0] = 1.0
    refused(model, sums, "'sum' .* is below initial_accumulator_value = 2, from which")


def test_sparse_gradients():
    model = Net(
        lambda s, x: s.b(s.a(x).relu()), a=nn.Embedding(9, 5, sparse=True), b=nn.Linear(5, 3)
    )
    optimizer = optim.SparseAdam([model.a.weight])
    x = torch.tensor([1, 3, 3])
    model(x).sum().backward()
    optimizer.step()
    with pytest.raises(InvalidInputError, match=r"sparse_coo.*; call optimizer\.zero_grad\(\)"):
        rescale_(model, x, optimizer=optimizer)
    optimizer.zero_grad()
    state = optimizer.state[model.a.weight]
    mean, square = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
    old = model.a.weight.detach().clone()
    rescale_(model, x, optimizer=optimizer)
    s = model.a.weight.detach() / old
    torch.testing.assert_close(state["exp_avg"], mean / s, rtol=1e-5, atol=0)
    torch.testing.assert_close(state["exp_avg_sq"], square / s**2, rtol=1e-5, atol=0)
    assert not torch.equal(state["exp_avg"], mean)


class InjectedError(Exception):
    pass


@pytest.mark.parametrize("error", [InjectedError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("n", [1, 5, 6, 10, 15])
def test_a_write_that_raises(n, error, monkeypatch):
    """The n-th of 15: after five parameters a gradient and two moments of each."""
    model = network()
    optimizer = trained(optim.Adam(model.parameters()), model)
    before = everything(model, optimizer)
    write, calls = rescale.write, []

    def failing(x: Tensor, value: Tensor) -> None:
        calls.append(x)
        write(x, value)
        if len(calls) == n:
            raise error

    monkeypatch.setattr(rescale, "write", failing)
    with pytest.raises(error):
        rescale_(model, X, optimizer=optimizer)
    assert len(calls) == n and everything(model, optimizer) == before


@pytest.mark.parametrize("error", [InjectedError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "moment",
    ["trace", "problem", "find", "rescale_parameters", "moved_values", "changes", "report_of"],
)
def test_a_stage_that_raises(moment, error, monkeypatch):
    model = network()
    optimizer = trained(optim.Adam(model.parameters()), model)
    before = everything(model, optimizer)
    real = getattr(rescale, moment)

    def failing(*args, **options):
        found = real(*args, **options)
        next(iter(found), None) if moment == "moved_values" else None
        raise error

    monkeypatch.setattr(rescale, moment, failing)
    with pytest.raises(error):
        rescale_(model, X, optimizer=optimizer)
    assert everything(model, optimizer) == before


@pytest.mark.parametrize("call", range(1, 7))
def test_a_forward_pass_that_raises(call):
    """Three before the change, three after it; the first of each three is required."""
    model = network()
    graph = trace(model, X)
    optimizer = trained(optim.Adam(model.parameters()), model)
    calls = []

    def hook(*_):
        calls.append(1)
        if len(calls) == call:
            raise InjectedError

    model.register_forward_hook(hook)
    before = everything(model, optimizer)
    with pytest.raises((InvalidInputError, VerificationError)):
        rescale_(model, X, graph=graph, optimizer=optimizer)
    assert everything(model, optimizer) == before


def test_refreshing_derived_weights_that_raises(monkeypatch):
    """The last act: a pruned weight is recomputed from its parameter."""
    model = network()
    prune.random_unstructured(model[0], "weight", 0.5)
    optimizer = trained(optim.Adam(model.parameters()), model)
    graph = trace(model, X)
    before = everything(model, optimizer)

    def failing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune.BasePruningMethod, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        rescale_(model, X, graph=graph, optimizer=optimizer, verify=False)
    assert everything(model, optimizer) == before
