"""What is done to a network before training, and after every step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import pathcond_native as pc

__all__ = ["BOUNDED", "METHODS", "balance", "prepare"]

METHODS = ("none", "enorm", "ten sweeps", "optimum")
BOUNDED = ("max_scale 2", "max_scale 4", "max_scale 32")
"""The best point with every scale within this factor of 1."""


def prepare(model: nn.Sequential, x: Tensor, method: str) -> Callable[[], None]:
    """Rescale a network as the method does it once; returns what it does after every step."""
    if method == "ten sweeps":
        pc.rescale_(model, x, method="cd")
    elif method == "optimum":
        pc.rescale_(model, x)
    elif method in BOUNDED:
        pc.rescale_(model, x, max_scale=float(method.split()[1]))
    elif method == "enorm":
        return lambda: balance(model)
    return lambda: None


@torch.no_grad()
def balance(model: nn.Sequential) -> None:
    """One cycle of ENorm (Stock et al., 2019) over a chain of layers, biases included.

    For every hidden neuron in order: lambda^4 = sum of squares that leave it / that enter it, which
    minimises the sum of squares of all parameters over this neuron's scale.
    """
    layers = [layer for layer in model if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for layer, after in pairwise(layers):
        entering = layer.weight.flatten(1).square().sum(1)
        if layer.bias is not None:
            entering = entering + layer.bias.square()
        leaving = after.weight.transpose(0, 1).flatten(1).square().sum(1)
        usable = (entering > 0) & (leaving > 0)
        scale = torch.where(usable, leaving / entering, 1.0) ** 0.25
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.dim() - 1)))
        if layer.bias is not None:
            layer.bias.mul_(scale)
        after.weight.div_(scale.reshape(1, -1, *[1] * (after.weight.dim() - 2)))
