"""A convolutional network, rescaled in place: the same function, better conditioned weights."""

import torch
from torch import nn

import pathcond_native as pc

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 8, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 64, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
).eval()
x = torch.randn(4, 3, 16, 16)
before = model(x)

report = pc.rescale_(model, x)
print(report)

# Convolutions and the affine part of the batch norm are neurons; the outputs are as they were.
assert report.neurons == 32 + 8 + 64
assert report.objective < report.initial_objective
assert report.gradient_norm <= 1e-12
assert (model(x) - before).abs().max() <= 1e-5 * before.abs().max()

# The optimum is left alone.
again = pc.rescale_(model, x)
assert abs(again.result.scales - 1).max() < 1e-4

# Powers of two round nothing: not a bit of the outputs moves, whatever the scales were before.
with torch.no_grad():
    model[3].weight.mul_(64.0)
    model[3].bias.mul_(64.0)
    model[6].weight.div_(64.0)
before = model(x)
report = pc.rescale_(model, x, round_to="power_of_two")
assert torch.equal(model(x), before) and report.max_relative_error == 0
