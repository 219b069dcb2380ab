"""diag(G) of models that memory does not hold: parameters are squared anew for every use."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, graph_of, trained

import pathcond_native as pc
from pathcond_native.model import criteria
from pathcond_native.model.diag_g import reduced_diag_g
from pathcond_native.model.lent import Lent
from pathcond_native.model.lift import Lift
from pathcond_native.model.parts import reduced_parts
from pathcond_native.model.scaled import shift
from pathcond_native.structured import Reduced


def entries(part):
    return part.sums if isinstance(part, Reduced) else part.numpy()


def dense(*widths):
    """Matrices from the left: what leaves a neuron is a row."""

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.ParameterList(torch.randn(sizes) for sizes in pairwise(widths))

        def forward(self, x):
            for w in self.w[:-1]:
                x = torch.relu(x @ w)
            return x @ self.w[-1]

    return Dense()


def test_transposed_weights_are_laid_out_as_the_solver_reads_them():
    model, x = dense(3, 5, 7, 4, 2), torch.ones(1, 3)
    graph = pc.trace(model, x)
    parts = reduced_diag_g(model, graph, lambda part, exponent: shift(part.double(), exponent))
    assert [x.sums.shape for x in parts] == [
        (1, 5, 1, 1, 1),
        (1, 7, 5, 1, 1),
        (1, 4, 7, 1, 1),
        (1, 1, 4, 1, 1),
    ]
    expected = pc.solve(graph.incidence(), pc.diag_g(model, x, graph=graph))
    np.testing.assert_allclose(pc.solve(graph, parts).u, expected.u, atol=1e-10)


@pytest.mark.parametrize("name", ZOO)
def test_the_same_bits(name):
    model, graph, kept = trained(ZOO[name].build()), graph_of(name), []

    def keep(x, exponent):
        kept.append(shift(x.double(), exponent).clone())
        return kept[-1]

    expected, found = reduced_diag_g(model, graph), reduced_diag_g(model, graph, keep)
    parts = {x.data_ptr() for x in kept if x.numel()}
    for a, b, (_, panel) in zip(expected, found, graph.panels or (), strict=False):
        if not isinstance(a, Reduced) and isinstance(b, Reduced):
            assert b.multiplicity == 1 and b.sums.flags.c_contiguous
            a = panel.view(a)
        np.testing.assert_array_equal(entries(a), entries(b))
        assert not entries(b).any() or entries(b).ctypes.data in parts


@pytest.mark.parametrize("exponent", [-400, 400])
def test_entries_out_of_range_move_together(exponent):
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(6))).double()
    with torch.no_grad():
        for x in model.parameters():
            x.mul_(2.0**exponent)
    graph = pc.trace(model, torch.ones(1, 3))
    kept = []

    def keep(x, exponent):
        kept.append(shift(x.double(), exponent))
        return kept[-1]

    for a, b in zip(reduced_diag_g(model, graph), reduced_diag_g(model, graph, keep), strict=True):
        np.testing.assert_array_equal(entries(a).ravel(), entries(b).ravel())
    assert len(kept) > len(graph.parameters)  # some a second time


def test_squares_are_in_memory_one_at_a_time():
    model = nn.Sequential(*(nn.Linear(40, 40) for _ in range(8)))
    model.append(nn.Linear(40, 40))[-1].weight = model[0].weight  # used twice
    graph = pc.trace(model, torch.ones(1, 40))
    lift, present = Lift(graph, model, torch.float64, frugal=True), []

    def ready(number, value, exponent):
        held = lift.tape.lent._held.values()
        present.append(sum(x.whole.untyped_storage().nbytes() for x in held))

    lift.differentiate(ready)
    assert len(present) == len(graph.parameters) == 17
    assert max(present) <= 8 * 40  # a bias, whose sum is being differentiated


def test_what_is_lent_comes_back_with_its_views():
    lent, x, filled = Lent(), torch.arange(6.0), []
    view = x.view(2, 3).t()

    def fill(y):
        filled.append(len(filled))
        y.copy_(torch.arange(6.0))

    lent.lend(x, fill)
    with lent.present([x]):
        assert x.sum() == 15 and not filled  # its first use
    assert x.untyped_storage().nbytes() == 0
    with lent.present([view, torch.ones(3)]):
        with lent.present([x]):
            pass
        assert view[2, 1] == 5
    assert x.untyped_storage().nbytes() == 0 and filled == [0]


@pytest.mark.parametrize("criterion", ["pathcond", "enorm"])
def test_what_needs_all_at_once_is_refused(criterion, monkeypatch):
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = torch.relu(self.a(x))
            return self.b(h * h)

    model, x = Squared(), torch.ones(1, 3)
    monkeypatch.setattr(criteria, "_FEW", 0)
    with pytest.raises(pc.InvalidInputError, match="all weights of this model at once"):
        criteria.problem(
            criterion,
            model,
            x,
            pc.trace(model, x),
            keep=lambda part, exponent: shift(part.double(), exponent),
        )


def test_reduced_parts_keep_nothing_of_their_own():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    graph = pc.trace(model, torch.ones(1, 2, 8, 8))
    sizes = []
    lift = Lift(graph, model, torch.float64, frugal=True)
    reduced_parts(
        graph, lift.differentiate, lift.device, keep=lambda x, _: sizes.append(x.numel()) or x
    )
    assert sorted(sizes) == [1, 4, 4, 4]  # sums over taps, inputs and outputs
