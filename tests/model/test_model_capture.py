"""Capture: the plain exported graph must tell the same as PyTorch's functional form of it."""

import pytest
import torch
from operator_zoo import OPERATORS, inputs_of
from symmetry import assert_symmetric
from torch import nn
from torch.nn import functional
from zoo import ZOO, Net

from pathcond_native.model import capture, trace

CASES = {
    **{name: (case, lambda name=name: inputs_of(name)) for name, case in OPERATORS.items()},
    **{
        name: (case, lambda case=case: (torch.randn(case.inputs, dtype=torch.float64),))
        for name, case in ZOO.items()
    },
}


@pytest.mark.parametrize("name", CASES)
def test_the_plain_graph_tells_the_same(name, monkeypatch):
    case, inputs = CASES[name]
    model, inputs = case.build(torch.float64), inputs()
    plain = trace(model, inputs)
    monkeypatch.setattr(capture, "_made_functional", lambda graph: False)
    functional_form = trace(model, inputs)
    assert plain.neurons == functional_form.neurons
    assert (plain.incidence() != functional_form.incidence()).nnz == 0
    assert {(x.where, x.channels) for x in plain.pinned} == {
        (x.where, x.channels) for x in functional_form.pinned
    }


def view_written_to(s, x):
    """The view is written to, so its base changes: three channels of h are no relu of a alone."""
    h = functional.relu(s.a(x))
    h.view(-1)[:3].tanh_()
    return s.b(h)


def written_after_a_view_was_taken(s, x):
    h = s.a(x)
    seen = h[:, :2]
    h.sigmoid_()
    return s.b(functional.relu(h)) + seen


def input_written_to(s, x):
    x.relu_()
    return s.b(functional.relu(s.a(x)))


@pytest.mark.parametrize(
    ("forward", "neurons"),
    [(view_written_to, 2), (written_after_a_view_was_taken, 0), (input_written_to, 5)],
)
def test_writes_that_others_see_need_the_functional_form(forward, neurons, monkeypatch):
    model = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(5, 2))
    decomposed = []
    run = torch.export.ExportedProgram.run_decompositions
    monkeypatch.setattr(
        torch.export.ExportedProgram,
        "run_decompositions",
        lambda *args: decomposed.append(args) or run(*args),
    )
    assert trace(model, torch.randn(2, 4)).shape[1] == neurons
    assert decomposed


def test_in_place_activations_and_sums_do_not(monkeypatch):
    def forward(s, x):
        h = s.n(s.a(x)).relu_()
        y = s.n(s.b(h))
        y += h
        return s.c(functional.relu(y, inplace=True))

    model = Net(
        forward, a=nn.Linear(4, 5), b=nn.Linear(5, 5), c=nn.Linear(5, 2), n=nn.BatchNorm1d(5)
    )
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)
    assert trace(model, torch.randn(2, 4)).shape[1] == 5


def written_to_what_dropout_returned(s, x):
    h = s.a(x)
    s.d(h).tanh_()
    return s.b(h)


def summed_into_what_dropout_returned(s, x):
    h = s.a(x)
    y = s.d(h)
    y += s.c(h)
    return s.b(h)


@pytest.mark.parametrize("chance", [0.0, 0.5])
@pytest.mark.parametrize(
    ("forward", "neurons"),
    [(written_to_what_dropout_returned, 0), (summed_into_what_dropout_returned, 5)],
)
def test_dropout_that_drops_nothing_returns_its_operand(forward, neurons, chance):
    model = Net(
        forward, a=nn.Linear(4, 5), b=nn.Linear(5, 2), c=nn.Linear(5, 5), d=nn.Dropout(chance)
    )
    inputs = (torch.randn(2, 4, dtype=torch.float64),)
    model = model.double().eval()
    graph = trace(model, inputs)
    assert graph.shape[1] == neurons
    assert_symmetric(model, inputs, graph)
