"""Three rescalings of one network: PathCond, ENorm and cross-layer equalisation."""

import copy

import numpy as np
import torch
from torch import nn

import pathcond_native as pc

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Linear(100, 5), nn.ReLU(), nn.Linear(5, 40))
x = torch.randn(3, 20)
outputs = model(x)
graph = pc.trace(model, x)
g = pc.diag_g(model, x, graph=graph).numpy()


def conditioning(u):
    """F / p: how far the rescaled diag(G) is from a multiple of the identity."""
    at = pc.solve(graph, g, u0=u, max_sweeps=0)
    return at.objective / at.rows


def sum_of_squares(network):
    return sum(float(p.detach().square().sum()) for p in network.parameters())


def imbalance(network):
    """Largest |log(r_in / r_out)|, r the largest |weight| that enters or leaves a neuron."""
    pairs = ((network[0], network[2]), (network[2], network[4]))
    ratios = [a.weight.abs().amax(1) / b.weight.abs().amax(0) for a, b in pairs]
    return float(torch.cat(ratios).detach().log().abs().max())


print(f"{'':10}{'F/p':>12}{'squares':>12}{'imbalance':>12}")
table = {}
for criterion in ("none", "pathcond", "enorm", "cle"):
    network, u = copy.deepcopy(model), np.zeros(graph.shape[1])
    if criterion != "none":
        u = pc.rescale_(network, x, graph=graph, criterion=criterion).result.u
    torch.testing.assert_close(network(x), outputs, rtol=1e-4, atol=1e-5)  # one function
    table[criterion] = conditioning(u), sum_of_squares(network), imbalance(network)
    print("{:10}{:12.5f}{:12.4f}{:12.2e}".format(criterion, *table[criterion]))

# Each is the best by its own measure.
for best, of in zip(("pathcond", "enorm", "cle"), range(3), strict=True):
    assert min(table, key=lambda name, of=of: table[name][of]) == best
