"""Networks drawn at random from the operators of the rule table, joined in random ways.

A block is drawn, built for the tensor at hand and run on it at once, so that every shape is known
when the next one is drawn. What does not fit that shape raises, and another block is drawn.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import torch
from random_blocks import Draw
from random_functions import POINTWISE, POSITIONS
from random_joins import JOINS, MOVES
from random_layers import NORMS, WEIGHTS
from torch import Tensor, nn

_INPUTS = ((3, 4), (2, 4, 6), (2, 4, 6, 6), (2, 4, 4, 4, 4))
_LARGEST = 2000  # entries of a tensor


class RandomNetwork(nn.Module):
    """Some blocks one after the other; the output is the last tensor, at times with another."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        r = Random(seed)
        shape = r.choices(_INPUTS, (4, 2, 4, 1))[0]
        self.inputs = (torch.randn(shape),)
        h = self.inputs[0]
        self.blocks = nn.ModuleList()
        for kind in [WEIGHTS, *(r.choice(_KINDS) for _ in range(r.randint(2, 8))), WEIGHTS]:
            block, h = _fitting(r, kind, h)
            self.blocks.append(block)
        self.also = r.randrange(len(self.blocks)) if r.random() < 0.1 else None

    def forward(self, h: Tensor) -> object:
        values = [h := block(h) for block in self.blocks]
        return h if self.also is None else {"out": h, "also": values[self.also]}


def random_network(seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network in training mode, a function of the seed, with trained statistics."""
    with _default_dtype(dtype), torch.random.fork_rng():
        torch.manual_seed(seed)
        return RandomNetwork(seed)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _fitting(r: Random, kind: dict[str, Draw], h: Tensor) -> tuple[nn.Module, Tensor]:
    """A block that can run on h and keeps its size in bounds."""
    while True:
        draw = kind[r.choice(list(kind))]
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("error")
                block = draw(r, h)
                out = block(h)
        except (RuntimeError, ValueError, LookupError, UserWarning):
            continue  # another rank, an odd number of channels, a window larger than the image
        if out.dim() >= 2 and 0 < out.numel() <= _LARGEST and out.shape[1] > 1:
            return block, out


_KINDS = [WEIGHTS, WEIGHTS, NORMS, POINTWISE, POINTWISE, POSITIONS, MOVES, JOINS]
