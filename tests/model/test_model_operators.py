"""Every operator: exact neuron counts, and a random rescaling that must preserve the function."""

import numpy as np
import pytest
import torch
from operator_zoo import OPERATORS, inputs_of
from symmetry import assert_symmetric
from torch import nn
from zoo import ZOO, graph_of

from pathcond_native.model import trace


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    case, inputs = OPERATORS[name], inputs_of(name)
    model = case.build(torch.float64)
    graph = trace(model, inputs)
    assert graph.shape[1] == case.neurons
    assert tuple(x.operator for x in graph.unsupported) == case.unsupported
    B = graph.incidence()
    assert B.dtype == np.int8 and B.nnz == np.count_nonzero(B.toarray())
    assert (np.diff(B.indptr) > 0).all() and B.has_sorted_indices
    assert_symmetric(model, inputs, graph)


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_is_symmetric(name):
    model = ZOO[name].build(torch.float64)
    inputs = (torch.randn(ZOO[name].inputs, dtype=torch.float64),)
    assert_symmetric(model, inputs, graph_of(name))


@pytest.mark.parametrize("name", ["square", "reglu", "bilinear_layer"])
def test_the_row_of_what_consumes_a_product(name):
    """Exponents add: h·h is left twice, a·b is left at a and at b."""
    case, inputs = OPERATORS[name], inputs_of(name)
    model = case.build(torch.float64)
    B, last = trace(model, inputs).incidence().toarray(), model.c.weight.numel()
    sizes = [x.numel() for x in model.parameters()]
    rows = np.split(B, np.cumsum(sizes))[4]
    assert len(rows) == last
    expected = {"square": [2], "reglu": [1, 1], "bilinear_layer": [-1, 1, 1]}[name]
    assert all(sorted(row[row != 0]) == expected for row in rows)


def test_powers_beyond_int8_are_pinned():
    """x^(4^4) would need an entry of 256."""

    class Powers(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)

        def forward(self, x):
            h = self.a(x)
            for _ in range(4):
                h = h.pow(4)
            return self.b(h)

    graph = trace(Powers(), torch.randn(1, 2))
    assert graph.shape[1] <= 3 and np.abs(graph.incidence().toarray()).max(initial=0) <= 100
