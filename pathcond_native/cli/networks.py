"""The networks that the demo and the benchmarks share, built with PyTorch's default weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["AUTOENCODER", "CIFAR_NV", "MLP", "NETWORKS", "Network"]


@dataclass(frozen=True)
class Network:
    """How to build one network and inputs for it; torch is imported when either is asked for."""

    title: str
    input_shape: tuple[int, ...]
    layers: Callable[[], list[nn.Module]]

    def build(self, seed: int = 0) -> nn.Sequential:
        """The network in float32 on the CPU; the global random state is left as it was."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.nn.Sequential(*self.layers())

    def inputs(self, batch: int, seed: int = 0) -> Tensor:
        """Standard normal inputs, shape (batch, *input_shape)."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, *self.input_shape, generator=generator)


def dense(*widths: int) -> list[nn.Module]:
    """Linear layers of these widths with a ReLU between each two."""
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


def cifar_nv() -> list[nn.Module]:
    """CIFAR-NV (Gitman & Ginsburg, arXiv 1709.08145): eight convolutions and a classifier."""
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for block, kernel in (((128,) * 3, 3), ((256,) * 3, 3), ((320,), 3), ((320,), 1)):
        for width in block:
            layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU()]
            channels = width
        if len(block) > 1:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


CIFAR_NV = Network("CIFAR-NV", (3, 32, 32), cifar_nv)
AUTOENCODER = Network(
    "autoencoder", (784,), lambda: dense(784, 1000, 500, 250, 30, 250, 500, 1000, 784)
)
MLP = Network("MLP", (3072,), lambda: dense(3072, 500, 500, 500, 10))
NETWORKS = (MLP, CIFAR_NV, AUTOENCODER)
