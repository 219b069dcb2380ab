"""What diag(G) says about a network before anything is rescaled: is there something to gain?"""

from itertools import pairwise

import torch
from torch import nn

import pathcond_native as pc


def mlp(*widths):
    torch.manual_seed(0)
    layers = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


gains = {}
for name, model in {
    "constant width": mlp(32, 32, 32, 32, 32),
    "bottleneck": mlp(32, 128, 4, 128, 32),
}.items():
    x = torch.randn(1, 32)
    print(name, pc.stats(model, x), sep="\n", end="\n\n")
    graph = pc.trace(model, x)
    g = pc.diag_g(model, x, graph=graph)
    assert g.shape == (graph.shape[0],) and (g > 0).all()

    # g per layer: the larger its spread between layers, the more there is to gain.
    for info in graph.parameters:
        part = g[info.offset : info.offset + info.size]
        print(f"{info.name:10} median of diag(G) {part.median():.2e}")

    result = pc.solve(graph, g)
    gains[name] = (result.initial_objective - result.objective) / result.rows
    print(f"the optimum gains {gains[name]:.3f} nats per parameter\n")

# Widths that vary are where rescaling has something to do (section 5 of the paper).
assert gains["bottleneck"] > 3 * gains["constant width"] > 0
