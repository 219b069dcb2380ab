"""Factories of small models, as a user's module would have them."""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

INPUT = "2x3x8x8"


def net():
    """Convolution, batch norm with statistics, linear layers; in evaluation mode."""
    torch.manual_seed(5)
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3, padding=1),
            norm=nn.BatchNorm2d(8),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(2),
            flat=nn.Flatten(),
            hidden=nn.Linear(32, 16),
            relu2=nn.ReLU(),
            out=nn.Linear(16, 4),
        )
    )
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2.0)
    return model.eval()


class Tied(nn.Module):
    """Tokens in, tokens out, by one table."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.embed = nn.Embedding(11, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        return self.out(self.down(torch.relu(self.up(self.embed(tokens)))))


ready = net()
number = 3


def broken():
    raise RuntimeError("no such\nluck")


def moved(a, b):
    """Largest change of an output, relative to its largest entry."""
    return float((a - b).detach().abs().max() / a.detach().abs().max())


def linear():
    """Without any neuron."""
    return nn.Linear(3, 2)


def wide():
    """Matrices of more than 64 KiB, of weights that no rows share."""
    torch.manual_seed(7)
    sizes = (200, 160, 180, 150, 3)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers[:-1], layers[-1][0])


class Masked(nn.Module):
    """With a buffer that is no part of its state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)
        self.register_buffer("mask", torch.arange(1.0, 7.0), persistent=False)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)) * self.mask)
