"""The strongest check of the rules: a rescaling drawn at random must preserve the function."""

import copy

import numpy as np
import torch
from torch.utils import _pytree as pytree

from pathcond_native.model import diag_g


def outputs(model, inputs, training):
    """All outputs of a copy of the model, with the same random numbers every time."""
    twin = copy.deepcopy(model).train(training)
    torch.manual_seed(1)
    with torch.no_grad():
        found = twin(*pytree.tree_map_only(torch.Tensor, torch.clone, inputs))
    return [x for x in pytree.tree_leaves(found) if isinstance(x, torch.Tensor)]


def rescaled(model, graph, u):
    """A copy with every parameter multiplied by exp(-(B u)/2), from the incidence matrix alone."""
    twin = copy.deepcopy(model)
    factors = torch.from_numpy(np.exp(-0.5 * (graph.incidence().astype(np.float64) @ u)))
    parts = factors.split([x.numel() for x in twin.parameters()])
    with torch.no_grad():
        for x, part in zip(twin.parameters(), parts, strict=True):
            x.mul_(part.reshape(x.shape).to(x.dtype))
    return twin


def assert_symmetric(model, inputs, graph, modes=(False, True), tolerance=1e-12):
    """Random scales for all neurons at once: outputs stay, and g becomes g · exp(B u)."""
    u = np.random.default_rng(0).normal(size=graph.shape[1])
    twin = rescaled(model, graph, u)
    for training in modes:
        old, new = (outputs(m, inputs, training) for m in (model, twin))
        for a, b in zip(old, new, strict=True):
            worst = float((a - b).abs().max()) if a.is_floating_point() else 0.0
            scale = float(a.abs().max()) if a.is_floating_point() else 1.0
            assert worst <= tolerance * scale, (training, worst / scale)
    g, rescaled_g = (diag_g(m, inputs, graph=graph).numpy() for m in (model, twin))
    expected = g * np.exp(graph.incidence().astype(np.float64) @ u)
    np.testing.assert_allclose(rescaled_g, expected, rtol=1e-9, atol=0)
