"""Different models rescaled at the same time by eight threads."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

import pathcond_native as pc


def perceptron(width):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)), torch.randn(2, 6)


def convolutional(width):
    layers = [nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3)]
    return nn.Sequential(*layers), torch.randn(2, 2, 8, 8)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem, self.inner, self.head = (nn.Linear(4, width), *[nn.Linear(width, width)] * 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.inner(torch.relu(x)))


def residual(width):
    return Residual(width), torch.randn(2, 4)


def models():
    torch.manual_seed(0)
    kinds = (perceptron, convolutional, residual)
    return [kinds[k % len(kinds)](4 + k) for k in range(16)]


def state(model):
    return [tensor.clone() for tensor in model.state_dict().values()]


def rescaled(pair):
    model, x = pair
    pc.rescale_(model, x)
    return state(model)


def test_eight_threads_rescale_different_models():
    alone = [rescaled(pair) for pair in models()]
    products = torch.backends.cudnn.allow_tf32
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(rescaled, models()))
    assert torch.backends.cudnn.allow_tf32 == products
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
