"""How a random block is drawn for the tensor that it is to be run on."""

from collections.abc import Callable
from random import Random
from typing import Any

from torch import Tensor, nn
from zoo import Net

Draw = Callable[[Random, Tensor], nn.Module]


def plain(f: Callable[[Tensor], Tensor]) -> Draw:
    return lambda r, h: Net(lambda s, x: f(x))


def with_drawn(choose: Callable[[Random, Tensor], Any], f: Callable[[Tensor, Any], Tensor]) -> Draw:
    """f of the tensor and of something drawn once."""

    def draw(r: Random, h: Tensor) -> nn.Module:
        chosen = choose(r, h)
        return Net(lambda s, x: f(x, chosen))

    return draw


def axis(r: Random, h: Tensor) -> int:
    return r.randrange(1, h.dim())


def rank(h: Tensor) -> int:
    return h.dim() - 2


def ranked(name: str, h: Tensor) -> type[nn.Module]:
    if not 1 <= rank(h) <= 3:
        raise ValueError("no spatial axes")
    return getattr(nn, f"{name}{rank(h)}d")


class OnChannels(nn.Module):
    """A layer that works on the last axis, on the channels of axis 1."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.dim() == 2 else self.layer(x.movedim(1, -1)).movedim(-1, 1)


def mix(r: Random, h: Tensor, out: int | None = None) -> nn.Module:
    """A linear map of channels at every position."""
    out = out or r.choice((2, 4, 6))
    return OnChannels(nn.Linear(h.shape[1], out, bias=r.random() < 0.8))
