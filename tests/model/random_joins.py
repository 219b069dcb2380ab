"""Random blocks that move entries, and that join a tensor with a map of itself."""

import itertools
from collections.abc import Callable
from random import Random

import torch
from random_blocks import Draw, OnChannels, axis, mix, plain, with_drawn
from torch import Tensor, nn
from torch.nn import functional
from zoo import Net

relu = functional.relu


def _halves(x: Tensor) -> list[Tensor]:
    return list(x.chunk(2, 1))


def _index(r: Random, h: Tensor) -> Callable[[Tensor], Tensor]:
    order = torch.tensor(r.sample(range(h.shape[1]), h.shape[1]))
    return r.choice((lambda x: x[:, order], lambda x: x.index_select(1, order)))


def _spread(r: Random, h: Tensor) -> Callable[[Tensor], Tensor]:
    if h.shape[1] % 2:
        raise ValueError("an odd number of channels")
    return r.choice(
        (
            lambda x: torch.cat(x.split(x.shape[1] // 2, 1)[::-1], 1),
            lambda x: torch.cat(x.split([1, x.shape[1] - 1], 1)[::-1], 1),
            lambda x: torch.cat(x.tensor_split((1,), 1)[::-1], 1),
            lambda x: torch.stack(x.unbind(1)[::-1], 1),
            lambda x: torch.cat([x.narrow(1, 1, x.shape[1] - 1), x[:, :1]], 1),
            lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
            lambda x: x.view(x.shape[0], 2, -1, *x.shape[2:]).sum(1),
            lambda x: x.select(1, 0)[:, None] + x[:, 1:],
        )
    )


def _overwritten(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1:2] = 2 * x[:, :1]
    return x


def _zeroed(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :1].zero_()
    return x


MOVES: dict[str, Draw] = {
    "index": with_drawn(_index, lambda x, f: f(x)),
    "spread": with_drawn(_spread, lambda x, f: f(x)),
    "halves": plain(lambda x: torch.cat(_halves(x)[::-1], 1)),
    "flip": with_drawn(axis, lambda x, a: x.flip(a)),
    "roll": with_drawn(axis, lambda x, a: x.roll(1, a)),
    "rot90": plain(lambda x: x.rot90(1, (2, 3))),
    "transpose": plain(lambda x: x.transpose(-1, -2)),
    "matrix_transpose": plain(lambda x: x.t().contiguous().t()),
    "permute": plain(lambda x: x.permute(0, *range(2, x.dim()), 1).contiguous().movedim(-1, 1)),
    "reshape": plain(lambda x: x.reshape(x.shape[0], -1)),
    "squeeze": plain(lambda x: x.unsqueeze(2).squeeze(2)),
    "fold": plain(lambda x: x.flatten(1).unflatten(1, (2, -1))),
    "repeat": plain(lambda x: x.repeat(1, 2, *[1] * (x.dim() - 2))),
    "tile": plain(lambda x: x.tile(2, *[1] * (x.dim() - 2))),
    "repeat_interleave": plain(lambda x: x.repeat_interleave(2, 1)),
    "expand": plain(lambda x: x.mean(-1, keepdim=True).expand(*x.shape[:-1], 3)),
    "pad_channels": plain(lambda x: functional.pad(x, (*[0] * (2 * x.dim() - 4), 0, 1))),
    "pixel_shuffle": plain(lambda x: functional.pixel_shuffle(x, 2)),
    "pixel_unshuffle": plain(lambda x: functional.pixel_unshuffle(x, 2)),
    "channel_shuffle": plain(lambda x: functional.channel_shuffle(x, 2)),
    "diagonal": plain(lambda x: x.diagonal(0, -2, -1)),
    "unfold": plain(lambda x: x.unfold(2, 2, 1).flatten(3)),
    "im2col": plain(lambda x: functional.unfold(x, 2)),
    "overwritten": plain(_overwritten),
    "zeroed": plain(_zeroed),
    "copied": plain(lambda x: torch.zeros_like(x).copy_(x.flip(1))),
    "column_first": plain(lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x),
}


def _join(f: Callable[[Tensor, Tensor], Tensor]) -> Draw:
    """f of the tensor and of a linear map of it with as many channels."""

    def draw(r: Random, h: Tensor) -> nn.Module:
        branch = nn.Sequential(mix(r, h, h.shape[1]), r.choice((nn.ReLU(), nn.Identity())))
        return Net(lambda s, x: f(x, s.branch(x)), branch=branch)

    return draw


def _dense(r: Random, h: Tensor) -> nn.Module:
    """All earlier tensors of a block side by side."""
    layers = {}
    for i, channels in enumerate(itertools.accumulate([h.shape[1], 2, 3])):
        layers[f"f{i}"] = OnChannels(nn.Linear(channels, 2 + i))

    def forward(s, x):
        for i in range(len(layers)):
            x = torch.cat([x, relu(s.get_submodule(f"f{i}")(x))], 1)
        return x

    return Net(forward, **layers)


JOINS: dict[str, Draw] = {
    "residual": _join(lambda x, y: x + y),
    "relu_of_residual": _join(lambda x, y: relu(torch.add(x, y, alpha=0.5))),
    "difference": _join(lambda x, y: x - 2 * y),
    "side_by_side": _join(lambda x, y: torch.cat([x, y], 1)),
    "product": _join(lambda x, y: x * relu(y)),
    "greater": _join(torch.maximum),
    "choice": _join(lambda x, y: torch.where(y > 0, x, y)),
    "gate": _join(lambda x, y: x * y.sigmoid()),
    "gated_linear_unit": _join(lambda x, y: functional.glu(torch.cat([x, y], 1), 1)),
    "dense": _dense,
}
