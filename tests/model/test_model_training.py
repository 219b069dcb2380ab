"""Models that are another function in training mode: both functions are preserved."""

import importlib

import pytest
import torch
from symmetry import assert_symmetric
from torch import nn
from torch.nn import functional
from zoo import Net

from pathcond_native.errors import VerificationError
from pathcond_native.model import trace

relu = functional.relu


class Auxiliary(nn.Module):
    """A second head that reads hidden channels in training mode only."""

    def __init__(self, activation) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.head, self.end = nn.Linear(5, 3), nn.Linear(3, 2)
        self.activation = activation

    def forward(self, x):
        h = relu(self.a(x))
        y = self.c(relu(self.b(h)))
        return (y, self.end(self.activation(self.head(self.activation(h))))) if self.training else y


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x) if self.training else x


class Fails(nn.Module):
    def forward(self, x):
        return x if not self.training or x.sum() > 0 else -x


@pytest.mark.parametrize(("activation", "neurons"), [(relu, 14), (torch.tanh, 6)])
def test_auxiliary_heads(activation, neurons):
    model, x = Auxiliary(activation).double(), (torch.randn(2, 4, dtype=torch.float64),)
    graph = trace(model, x)
    assert graph.shape[1] == neurons
    assert_symmetric(model, x, graph)


def test_a_module_that_asks_for_its_mode_is_traced_in_both():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Noise(), nn.Linear(5, 6), nn.Linear(6, 2))
    model, x = model.double(), (torch.randn(2, 4, dtype=torch.float64),)
    graph = trace(model, x)
    assert graph.shape[1] == 6
    assert_symmetric(model, x, graph)


def test_a_training_mode_that_cannot_be_traced_is_reported():
    graph = trace(nn.Sequential(nn.Linear(4, 5), Fails(), nn.Linear(5, 2)), torch.randn(2, 4))
    (problem,) = graph.unsupported
    assert problem.operator == "training mode" and "could not be traced" in problem.reason


def test_unused_parameters_change_nothing():
    model = Net(
        lambda s, x: s.b(relu(s.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 2), c=nn.Linear(2, 2)
    )
    graph = trace(model, torch.randn(2, 4))
    assert graph.shape[1] == 5 and not graph.incidence().toarray()[-6:].any()


def of_mode(module, h):
    return torch.tanh(h) if module.training else h


class AsksInAHelper(nn.Module):
    """Its forward pass does not name its mode; what it calls does."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.how = nn.Linear(4, 5), nn.Linear(5, 2), how
        self.kept = lambda h: torch.tanh(h) if getattr(self, "training") else h  # noqa: B009
        if how == "hook":
            self.a.register_forward_hook(lambda m, _, out: of_mode(m, out))

    def helper(self, h):
        return torch.tanh(h) if self.training else h

    def forward(self, x):
        h = self.a(x)
        if self.how == "method":
            h = self.helper(h)
        elif self.how == "function":
            h = of_mode(self, h)
        elif self.how == "attribute":
            h = self.kept(h)
        return self.b(h)


@pytest.mark.parametrize("how", ["method", "function", "attribute", "hook"])
def test_the_mode_is_asked_for_out_of_sight(how):
    assert trace(AsksInAHelper(how).eval(), torch.randn(2, 4)).shape[1] == 0


def test_a_training_run_that_needs_float32_is_not_proven(monkeypatch, bits):
    """The float64 copy leaves that run out: a refusal, no crash."""

    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x):
            if self.training and self.a.weight.dtype != torch.float32:
                raise TypeError("float32 only")
            return self.b(self.a(x).relu())

    model = Narrow()
    before = bits(model)
    rescale = importlib.import_module("pathcond_native.model.rescale")
    rescaled = rescale.rescale_parameters

    def wrong(model, *args, **options):
        lost = rescaled(model, *args, **options)
        with torch.no_grad():
            for x in map(model.get_parameter, lost):
                x.mul_(1 + 1e-4)
        return lost

    monkeypatch.setattr(rescale, "rescale_parameters", wrong)
    with pytest.raises(VerificationError, match="rescaling changed output"):
        rescale.rescale_(model, torch.randn(2, 4))
    assert bits(model) == before
