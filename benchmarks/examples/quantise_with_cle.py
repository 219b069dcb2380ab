"""Channels equalised before 8-bit quantisation of weights, one step size per tensor."""

import copy

import torch
from torch import nn

import pathcond_native as pc


def quantised(model):
    """A copy with every weight rounded to one of 255 levels of its tensor."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                step = layer.weight.abs().max() / 127
                layer.weight.copy_((layer.weight / step).round() * step)
    return model


def error(model, x):
    """Of the quantised model's outputs, relative to their size."""
    with torch.no_grad():
        exact = model(x)
        return float((quantised(model)(x) - exact).norm() / exact.norm())


torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1, groups=16),  # depthwise: ranges differ most in these
    nn.ReLU(),
    nn.Conv2d(16, 32, 1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(32, 10),
)
with torch.no_grad():  # as batch norms that were folded into the weights leave them
    for layer in (model[0], model[2], model[4]):
        spread = torch.exp(1.5 * torch.randn(len(layer.weight)))
        layer.weight.mul_(spread[:, None, None, None])
        layer.bias.mul_(spread)

x = torch.randn(16, 3, 16, 16)
before = error(model, x)
report = pc.rescale_(model, x[:1], criterion="cle")
after = error(model, x)
print(report)
print(f"8-bit weights change the outputs by {before:.1%} before and {after:.1%} after")
assert after < 0.5 * before

# Largest |weight| that enters a neuron = largest that leaves it.
enters, leaves = model[0].weight.abs().amax((1, 2, 3)), model[2].weight.abs().amax((1, 2, 3))
torch.testing.assert_close(enters, leaves)
