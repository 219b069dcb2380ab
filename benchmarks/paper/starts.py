"""Initialisations of other papers, as networks to condition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["mlp", "random_peaks", "stiefel", "triangles", "two_layers"]


def mlp(widths: Sequence[int], start: str, seed: int) -> nn.Sequential:
    """Linear layers with ReLUs between them, float32.

    Args:
        start: "default" (PyTorch's), or "He", "orthogonal" (times sqrt 2), "Stiefel" with zero
            biases.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layer = nn.Linear(a, b)
            if start != "default":
                nn.init.zeros_(layer.bias)
            if start == "He":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif start == "orthogonal":
                nn.init.orthogonal_(layer.weight, 2**0.5)
            elif start == "Stiefel":
                with torch.no_grad():
                    layer.weight.copy_(stiefel(b, a))
            layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def stiefel(m: int, n: int) -> Tensor:
    """A random m x n matrix among the semi-orthogonal ones with the largest sum of entries.

    Our reconstruction of Lee, Kim, Choi (arXiv 2509.00362), whose sampler is not public where we
    could look: the sum is sqrt(m n) exactly where the matrix maps the direction of ones to the
    direction of ones; the rest is Haar-random. Drawn from torch's global generator; float64.
    """

    def basis(size: int) -> Tensor:
        """An orthogonal matrix, its first column constant and the others Haar-random."""
        first = torch.full((size,), size**-0.5, dtype=torch.float64)
        normal = first.clone()
        normal[0] -= 1
        reflection = torch.eye(size, dtype=torch.float64)
        if size > 1:
            reflection -= 2 * torch.outer(normal, normal) / (normal @ normal)
        random = torch.eye(size, dtype=torch.float64)
        if size > 1:
            nn.init.orthogonal_(random[1:, 1:])
        return reflection @ random

    return basis(m) @ torch.eye(m, n, dtype=torch.float64) @ basis(n).T


def random_peaks(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Peaks a in (0.3, 0.7) and the scales s_{i+1} = s_i (1 - a_{i+1}) a_{i+2}, from s_0 = a_0 a_1.

    One more peak is drawn than is used: the last scale asks for it.
    """
    peaks = np.random.default_rng(seed).uniform(0.3, 0.7, count + 1)
    scales = [peaks[0] * peaks[1]]
    for i in range(count - 1):
        scales.append(scales[-1] * (1 - peaks[i + 1]) * peaks[i + 2])
    return peaks[:count], np.array(scales)


@torch.no_grad()
def triangles(peaks: np.ndarray, scales: np.ndarray) -> nn.Sequential:
    """The network of width 4 that computes Σ s_i W_i on [0, 1], W_i = T_{a_i} ∘ … ∘ T_{a_0}.

    T_a is the triangle with peak 1 at a: 2^len(peaks) linear pieces. Milkert, Hyde, Laine (arXiv
    2311.18022); the first layer is our completion. The neurons of a layer are the sum so far, t1
    and t2, of which the next triangle is t1/a - t2/(a - a^2), and a constant. float64.
    """
    first = nn.Linear(1, 4, dtype=torch.float64)
    first.weight.copy_(torch.tensor([[0.0], [1.0], [1.0], [0.0]]))
    first.bias.copy_(torch.tensor([0.0, 0.0, -peaks[0], 1.0]))
    layers: list[nn.Module] = [first, nn.ReLU()]
    ratios = scales / np.concatenate([[1.0], scales[:-1]])
    for i, (a, s) in enumerate(zip(peaks, ratios, strict=True)):
        rise, fall = s / a, -s / (a - a * a)
        rows = [[1.0, rise, fall, 0.0]]
        if i + 1 < len(peaks):
            shift = -s * peaks[i + 1]
            rows += [[0.0, rise, fall, 0.0], [0.0, rise, fall, shift], [0.0, 0.0, 0.0, s]]
        layer = nn.Linear(4, len(rows), bias=False, dtype=torch.float64)
        layer.weight.copy_(torch.tensor(rows))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class _Mean(nn.Module):
    """Divides by the number of neurons."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x / self.count


@torch.no_grad()
def two_layers(inputs: int, width: int, alpha: float, seed: int) -> nn.Sequential:
    """(1/width) Σ_j b_j relu(<a_j, x>), standard normal a_j and b_j times alpha; float64.

    The scaling path between the rich (alpha to 0) and the kernel regime (alpha to infinity) of
    Neumayer, Chizat, Unser (arXiv 2303.17805).
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(inputs, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=False)]
    model = nn.Sequential(*layers, _Mean(width)).double()
    for parameter in model.parameters():
        parameter.normal_(generator=generator).mul_(alpha)
    return model
