"""Random blocks without parameters: functions of an entry, and of neighbouring positions."""

from collections.abc import Callable
from random import Random

import torch
from random_blocks import Draw, plain, rank, with_drawn
from torch import Tensor, nn
from torch.nn import functional
from zoo import Net

relu = functional.relu


POINTWISE: dict[str, Draw] = {
    "relu": plain(relu),
    "relu_in_place": lambda r, h: Net(lambda s, x: (x * 1).relu_()),
    "leaky_relu": lambda r, h: nn.LeakyReLU(r.choice((0.01, 0.3))),
    "prelu": lambda r, h: nn.PReLU(r.choice((1, h.shape[1]))),
    "rrelu": lambda r, h: nn.RReLU(),
    "abs": plain(torch.abs),
    "clamp": plain(lambda x: x.clamp(min=0)),
    "clamp_min": plain(lambda x: torch.clamp_min(x, 0)),
    "clamp_max": plain(lambda x: torch.clamp_max(x, 0)),
    "threshold": plain(lambda x: functional.threshold(x, 0, 0)),
    "dropout": lambda r, h: nn.Dropout(r.choice((0.0, 0.3))),
    "dropout_of_channels": lambda r, h: nn.Dropout2d(0.3),
    "alpha_dropout": lambda r, h: r.choice((nn.AlphaDropout, nn.FeatureAlphaDropout))(0.3),
    "maximum": plain(lambda x: torch.maximum(x, -0.5 * x)),
    "minimum": plain(lambda x: torch.minimum(x, torch.zeros_like(x))),
    "fmax": plain(lambda x: torch.fmax(x, 0.1 * x)),
    "fmin": plain(lambda x: torch.fmin(x, 2 * x)),
    "where": plain(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "masked_fill": plain(lambda x: x.masked_fill(x <= 0, 0.0)),
    "mask": plain(lambda x: x * (x >= 0)),
    "below_itself": plain(lambda x: x * (x < 2 * x)),
    "equal": plain(lambda x: x * (x == x.abs()) - x * (x != x.abs())),
    "sign": plain(lambda x: x * x.sign()),
    "square": plain(torch.square),
    "power": with_drawn(lambda r, h: r.choice((2, 3)), lambda x, n: relu(x).pow(n)),
    "factor": with_drawn(lambda r, h: r.choice((0.5, -2, 3)), lambda x, c: c * x),
    "quotient": with_drawn(lambda r, h: r.choice((0.5, -2, 3)), lambda x, c: x / c),
    "negative": plain(torch.neg),
    "minus_itself": plain(lambda x: relu(x) - 0.5 * x),
    "reversed_minus": plain(lambda x: torch.rsub(x, relu(x), alpha=2)),
    "constant_factors": with_drawn(
        lambda r, h: torch.rand(h.shape[1:]) + 0.5, lambda x, c: x * c.to(x.dtype)
    ),
    "random_factors": plain(lambda x: x * torch.rand_like(x)),
    "random_mask": plain(lambda x: x * torch.bernoulli(torch.empty_like(x), p=0.7)),
    "cast": plain(lambda x: x.to(torch.float64).to(x.dtype)),
    "clone": plain(lambda x: x.clone().contiguous().detach()),
    "tanh": plain(torch.tanh),
    "gelu": plain(functional.gelu),
    "relu6": plain(functional.relu6),
    "plus_one": plain(lambda x: x + 1),
    "softmax": plain(lambda x: x.softmax(1)),
    "normalize": plain(functional.normalize),
}


def _function(name: str, h: Tensor) -> Callable[..., Tensor]:
    if not 1 <= rank(h) <= 3:
        raise ValueError("no spatial axes")
    return getattr(functional, f"{name}{rank(h)}d")


def _pool(name: str) -> Draw:
    def draw(r: Random, h: Tensor) -> nn.Module:
        f, k = _function(name, h), r.choice((2, 3))
        stride, padding = r.choice((1, 2)), r.randrange(2)
        return Net(lambda s, x: f(x, k, stride, padding))

    return draw


def _adaptive(name: str) -> Draw:
    def draw(r: Random, h: Tensor) -> nn.Module:
        f, size = _function(name, h), r.choice((1, 2, 3))
        return Net(lambda s, x: f(x, size))

    return draw


def _interpolate(r: Random, h: Tensor) -> nn.Module:
    modes = {1: ("linear",), 2: ("bilinear", "bicubic", "antialias"), 3: ("trilinear",)}[rank(h)]
    mode = r.choice(("nearest", "nearest-exact", *modes))
    options = {"size": r.choice((3, 5)), "mode": "bilinear" if mode == "antialias" else mode}
    if mode == "antialias":
        options["antialias"] = True
    elif not mode.startswith("nearest"):
        options["align_corners"] = r.random() < 0.5
    return Net(lambda s, x: functional.interpolate(x, **options))


def _over(f: Callable[[Tensor, int], Tensor]) -> Draw:
    """f over one spatial axis."""

    def draw(r: Random, h: Tensor) -> nn.Module:
        axis = r.randrange(2, h.dim())
        return Net(lambda s, x: f(x, axis))

    return draw


def _pad(r: Random, h: Tensor) -> nn.Module:
    mode = r.choice(("constant", "reflect", "replicate", "circular"))
    sizes = [r.randrange(2) for _ in range(2 * rank(h))] or [1, 0]
    return Net(lambda s, x: functional.pad(x, sizes, mode=mode))


POSITIONS: dict[str, Draw] = {
    "max_pool": _pool("max_pool"),
    "avg_pool": _pool("avg_pool"),
    "adaptive_max_pool": _adaptive("adaptive_max_pool"),
    "adaptive_avg_pool": _adaptive("adaptive_avg_pool"),
    "max_pool_with_indices": with_drawn(
        lambda r, h: _function("max_pool", h), lambda x, f: f(x, 2, 1, return_indices=True)[0]
    ),
    "interpolate": _interpolate,
    "pad": _pad,
    "amax": _over(lambda x, a: x.amax(a, keepdim=True)),
    "amin": _over(lambda x, a: x.amin(a, keepdim=True)),
    "max": _over(lambda x, a: x.max(a)[0]),
    "min": _over(lambda x, a: x.min(a)[0]),
    "mean": _over(lambda x, a: x.mean(a, keepdim=True)),
    "sum": _over(lambda x, a: x.sum(a)),
    "cumsum": _over(lambda x, a: x.cumsum(a)),
    "over_channels": plain(lambda x: x - x.mean(1, keepdim=True)),
}
