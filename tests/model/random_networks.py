"""Networks drawn at random from the operators of the rule table, joined in random ways.

A block is drawn, built for the tensor at hand and run on it at once, so that every shape is known
when the next one is drawn. What does not fit that shape raises, and another block is drawn.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from operator_modules import Raw
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from zoo import Net

Draw = Callable[[Random, Tensor], nn.Module]
relu = functional.relu

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
        for kind in [_WEIGHTS, *(r.choice(_KINDS) for _ in range(r.randint(2, 8))), _WEIGHTS]:
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


def _plain(f: Callable[[Tensor], Tensor]) -> Draw:
    return lambda r, h: Net(lambda s, x: f(x))


def _with(choose: Callable[[Random, Tensor], Any], f: Callable[[Tensor, Any], Tensor]) -> Draw:
    """f of the tensor and of something drawn once."""

    def draw(r: Random, h: Tensor) -> nn.Module:
        chosen = choose(r, h)
        return Net(lambda s, x: f(x, chosen))

    return draw


def _axis(r: Random, h: Tensor) -> int:
    return r.randrange(1, h.dim())


def _rank(h: Tensor) -> int:
    return h.dim() - 2


def _ranked(name: str, h: Tensor) -> type[nn.Module]:
    if not 1 <= _rank(h) <= 3:
        raise ValueError("no spatial axes")
    return getattr(nn, f"{name}{_rank(h)}d")


class _OnChannels(nn.Module):
    """A layer that works on the last axis, on the channels of axis 1."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.dim() == 2 else self.layer(x.movedim(1, -1)).movedim(-1, 1)


def _mix(r: Random, h: Tensor, out: int | None = None) -> nn.Module:
    """A linear map of channels at every position."""
    out = out or r.choice((2, 4, 6))
    return _OnChannels(nn.Linear(h.shape[1], out, bias=r.random() < 0.8))


# -- blocks with weights ---------------------------------------------------------------------------


def _convolution(r: Random, h: Tensor) -> nn.Module:
    channels, k = h.shape[1], r.choice((1, 2, 3))
    groups = r.choice([n for n in (1, 1, 2, channels) if channels % n == 0])
    return _ranked("Conv", h)(
        channels,
        groups * r.choice((1, 2, 3)),
        k,
        stride=r.choice((1, 1, 2)),
        padding=r.randrange(k),
        dilation=r.choice((1, 1, 2)),
        groups=groups,
        bias=r.random() < 0.8,
        padding_mode=r.choice(("zeros", "zeros", "reflect", "replicate", "circular")),
    )


def _transposed(r: Random, h: Tensor) -> nn.Module:
    channels, k = h.shape[1], r.choice((1, 2, 3))
    groups = r.choice([n for n in (1, 2, channels) if channels % n == 0])
    return _ranked("ConvTranspose", h)(
        channels,
        groups * r.choice((1, 2)),
        k,
        stride=r.choice((1, 2)),
        padding=r.randrange(k),
        groups=groups,
        bias=r.random() < 0.8,
    )


def _weight_norm(r: Random, h: Tensor) -> nn.Module:
    return _OnChannels(parametrizations.weight_norm(nn.Linear(h.shape[1], 4)))


def _matrix(r: Random, h: Tensor) -> nn.Module:
    def forward(s, x):
        return (x.movedim(1, -1) @ s.w).movedim(-1, 1)

    return Raw(forward, {"w": (h.shape[1], r.choice((2, 4, 6)))})


def _matrix_from_the_left(r: Random, h: Tensor) -> nn.Module:
    return Raw(lambda s, x: s.w @ x, {"w": (r.choice((2, 4)), h.shape[-2])})


def _einsum(r: Random, h: Tensor) -> nn.Module:
    return Raw(lambda s, x: torch.einsum("nc...,cd->nd...", x, s.w), {"w": (h.shape[1], 4)})


def _added_product(r: Random, h: Tensor) -> nn.Module:
    alpha, beta, channels = r.choice((1, 2)), r.choice((1, 3)), h.shape[1]
    if h.dim() == 2:
        shapes = {"w": (channels, 4), "b": (4,)}
        return Raw(lambda s, x: torch.addmm(s.b, x, s.w, alpha=alpha, beta=beta), shapes)
    shapes = {"w": (h.shape[0], h.shape[2], 4), "b": (h.shape[0], channels, 4)}
    return Raw(lambda s, x: torch.baddbmm(s.b, x, s.w, alpha=alpha, beta=beta), shapes)


def _batched_product(r: Random, h: Tensor) -> nn.Module:
    return Raw(lambda s, x: torch.bmm(s.w, x), {"w": (h.shape[0], 4, h.shape[1])})


def _vector(r: Random, h: Tensor) -> nn.Module:
    def forward(s, x):
        return torch.mv(x.flatten(0, -2), s.w).reshape(x.shape[:-1]) if x.dim() == 2 else x @ s.w

    return (
        Raw(forward, {"w": (h.shape[-1],)})
        if h.dim() > 2
        else Raw(lambda s, x: x * torch.mv(x, s.w)[:, None].sign(), {"w": (h.shape[1],)})
    )


def _affine(r: Random, h: Tensor) -> nn.Module:
    shape = (h.shape[1], *[1] * _rank(h))
    forward = r.choice(
        (
            lambda s, x: x * s.gain,
            lambda s, x: x * s.gain + s.shift,
            lambda s, x: torch.addcmul(s.shift, s.gain, x, value=2),
            lambda s, x: s.shift - x,
        )
    )
    return Raw(forward, {"gain": shape, "shift": shape})


def _bilinear(r: Random, h: Tensor) -> nn.Module:
    layers = {"a": _mix(r, h, 3), "b": _mix(r, h, 2)}

    def forward(s, x):
        return s.c(*(relu(f(x)).movedim(1, -1).contiguous() for f in (s.a, s.b))).movedim(-1, 1)

    return Net(forward, **layers, c=nn.Bilinear(3, 2, 4))


def _positions(r: Random, h: Tensor) -> nn.Module:
    """A learnt table, looked up at every place of the last axis, is added."""
    length, channels = h.shape[-1], h.shape[1]
    if h.dim() != 3:
        raise ValueError("no sequence")
    return Net(lambda s, x: x + s.e(torch.arange(length)).t(), e=nn.Embedding(length + 1, channels))


def _attention(r: Random, h: Tensor) -> nn.Module:
    if h.dim() != 3:
        raise ValueError("no sequence")
    layers = {name: nn.Linear(h.shape[1], 4) for name in "qkv"}

    def forward(s, x):
        x = x.movedim(1, -1)
        q, k, v = s.q(x), s.k(x), relu(s.v(x))
        return functional.scaled_dot_product_attention(q, k, v).movedim(-1, 1)

    return Net(forward, **layers)


def _heads(r: Random, h: Tensor) -> nn.Module:
    if h.dim() != 3:
        raise ValueError("no sequence")
    attention = nn.MultiheadAttention(h.shape[1], 2, batch_first=True)

    def forward(s, x):
        x = x.movedim(1, -1)
        return s.m(x, x, x, need_weights=False)[0].movedim(-1, 1)

    return Net(forward, m=attention)


def _repeated(r: Random, h: Tensor) -> nn.Module:
    """One layer used two or three times."""
    channels, times = h.shape[1], r.choice((2, 3))

    def forward(s, x):
        for _ in range(times):
            x = relu(s.f(x))
        return x

    return Net(forward, f=_OnChannels(nn.Linear(channels, channels, bias=r.random() < 0.5)))


def _transposed_twin(r: Random, h: Tensor) -> nn.Module:
    """Encoder and decoder share a matrix."""

    def forward(s, x):
        x = relu(functional.linear(x.movedim(1, -1), s.w))
        return functional.linear(x, s.w.t()).movedim(-1, 1)

    return Raw(forward, {"w": (3, h.shape[1])})


_WEIGHTS: dict[str, Draw] = {
    "linear": _mix,
    "linear_again": _mix,
    "convolution": _convolution,
    "convolution_again": _convolution,
    "transposed_convolution": _transposed,
    "weight_norm": _weight_norm,
    "matrix": _matrix,
    "matrix_from_the_left": _matrix_from_the_left,
    "einsum": _einsum,
    "added_product": _added_product,
    "batched_product": _batched_product,
    "vector": _vector,
    "affine": _affine,
    "bilinear": _bilinear,
    "positions": _positions,
    "attention": _attention,
    "heads": _heads,
    "repeated": _repeated,
    "transposed_twin": _transposed_twin,
}


# -- normalisation ---------------------------------------------------------------------------------


def _batch_norm(r: Random, h: Tensor) -> nn.Module:
    dim = max(1, _rank(h))
    norm = getattr(nn, f"BatchNorm{dim}d")(
        h.shape[1], affine=r.random() < 0.8, track_running_stats=r.random() < 0.8
    )
    if norm.track_running_stats:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


_NORMS: dict[str, Draw] = {
    "batch_norm": _batch_norm,
    "layer_norm": lambda r, h: _OnChannels(
        nn.LayerNorm(h.shape[1], elementwise_affine=r.random() < 0.8)
    ),
    "rms_norm": lambda r, h: _OnChannels(nn.RMSNorm(h.shape[1])),
    "group_norm": lambda r, h: nn.GroupNorm(r.choice((1, 2)), h.shape[1], affine=r.random() < 0.8),
    "instance_norm": lambda r, h: _ranked("InstanceNorm", h)(
        h.shape[1], affine=r.random() < 0.8, track_running_stats=r.random() < 0.5
    ),
}


# -- entry by entry --------------------------------------------------------------------------------

_POINTWISE: dict[str, Draw] = {
    "relu": _plain(relu),
    "relu_in_place": lambda r, h: Net(lambda s, x: (x * 1).relu_()),
    "leaky_relu": lambda r, h: nn.LeakyReLU(r.choice((0.01, 0.3))),
    "prelu": lambda r, h: nn.PReLU(r.choice((1, h.shape[1]))),
    "rrelu": lambda r, h: nn.RReLU(),
    "abs": _plain(torch.abs),
    "clamp": _plain(lambda x: x.clamp(min=0)),
    "clamp_min": _plain(lambda x: torch.clamp_min(x, 0)),
    "clamp_max": _plain(lambda x: torch.clamp_max(x, 0)),
    "threshold": _plain(lambda x: functional.threshold(x, 0, 0)),
    "dropout": lambda r, h: nn.Dropout(r.choice((0.0, 0.3))),
    "dropout_of_channels": lambda r, h: nn.Dropout2d(0.3),
    "alpha_dropout": lambda r, h: r.choice((nn.AlphaDropout, nn.FeatureAlphaDropout))(0.3),
    "maximum": _plain(lambda x: torch.maximum(x, -0.5 * x)),
    "minimum": _plain(lambda x: torch.minimum(x, torch.zeros_like(x))),
    "fmax": _plain(lambda x: torch.fmax(x, 0.1 * x)),
    "fmin": _plain(lambda x: torch.fmin(x, 2 * x)),
    "where": _plain(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "masked_fill": _plain(lambda x: x.masked_fill(x <= 0, 0.0)),
    "mask": _plain(lambda x: x * (x >= 0)),
    "below_itself": _plain(lambda x: x * (x < 2 * x)),
    "equal": _plain(lambda x: x * (x == x.abs()) - x * (x != x.abs())),
    "sign": _plain(lambda x: x * x.sign()),
    "square": _plain(torch.square),
    "power": _with(lambda r, h: r.choice((2, 3)), lambda x, n: relu(x).pow(n)),
    "factor": _with(lambda r, h: r.choice((0.5, -2, 3)), lambda x, c: c * x),
    "quotient": _with(lambda r, h: r.choice((0.5, -2, 3)), lambda x, c: x / c),
    "negative": _plain(torch.neg),
    "minus_itself": _plain(lambda x: relu(x) - 0.5 * x),
    "reversed_minus": _plain(lambda x: torch.rsub(x, relu(x), alpha=2)),
    "constant_factors": _with(
        lambda r, h: torch.rand(h.shape[1:]) + 0.5, lambda x, c: x * c.to(x.dtype)
    ),
    "random_factors": _plain(lambda x: x * torch.rand_like(x)),
    "random_mask": _plain(lambda x: x * torch.bernoulli(torch.empty_like(x), p=0.7)),
    "cast": _plain(lambda x: x.to(torch.float64).to(x.dtype)),
    "clone": _plain(lambda x: x.clone().contiguous().detach()),
    "tanh": _plain(torch.tanh),
    "gelu": _plain(functional.gelu),
    "relu6": _plain(functional.relu6),
    "plus_one": _plain(lambda x: x + 1),
    "softmax": _plain(lambda x: x.softmax(1)),
    "normalize": _plain(functional.normalize),
}


# -- positions -------------------------------------------------------------------------------------


def _function(name: str, h: Tensor) -> Callable[..., Tensor]:
    if not 1 <= _rank(h) <= 3:
        raise ValueError("no spatial axes")
    return getattr(functional, f"{name}{_rank(h)}d")


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
    modes = {1: ("linear",), 2: ("bilinear", "bicubic", "antialias"), 3: ("trilinear",)}[_rank(h)]
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
    sizes = [r.randrange(2) for _ in range(2 * _rank(h))] or [1, 0]
    return Net(lambda s, x: functional.pad(x, sizes, mode=mode))


_POSITIONS: dict[str, Draw] = {
    "max_pool": _pool("max_pool"),
    "avg_pool": _pool("avg_pool"),
    "adaptive_max_pool": _adaptive("adaptive_max_pool"),
    "adaptive_avg_pool": _adaptive("adaptive_avg_pool"),
    "max_pool_with_indices": _with(
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
    "over_channels": _plain(lambda x: x - x.mean(1, keepdim=True)),
}


# -- moving ----------------------------------------------------------------------------------------


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


_MOVES: dict[str, Draw] = {
    "index": _with(_index, lambda x, f: f(x)),
    "spread": _with(_spread, lambda x, f: f(x)),
    "halves": _plain(lambda x: torch.cat(_halves(x)[::-1], 1)),
    "flip": _with(_axis, lambda x, a: x.flip(a)),
    "roll": _with(_axis, lambda x, a: x.roll(1, a)),
    "rot90": _plain(lambda x: x.rot90(1, (2, 3))),
    "transpose": _plain(lambda x: x.transpose(-1, -2)),
    "matrix_transpose": _plain(lambda x: x.t().contiguous().t()),
    "permute": _plain(lambda x: x.permute(0, *range(2, x.dim()), 1).contiguous().movedim(-1, 1)),
    "reshape": _plain(lambda x: x.reshape(x.shape[0], -1)),
    "squeeze": _plain(lambda x: x.unsqueeze(2).squeeze(2)),
    "fold": _plain(lambda x: x.flatten(1).unflatten(1, (2, -1))),
    "repeat": _plain(lambda x: x.repeat(1, 2, *[1] * (x.dim() - 2))),
    "tile": _plain(lambda x: x.tile(2, *[1] * (x.dim() - 2))),
    "repeat_interleave": _plain(lambda x: x.repeat_interleave(2, 1)),
    "expand": _plain(lambda x: x.mean(-1, keepdim=True).expand(*x.shape[:-1], 3)),
    "pad_channels": _plain(lambda x: functional.pad(x, (*[0] * (2 * x.dim() - 4), 0, 1))),
    "pixel_shuffle": _plain(lambda x: functional.pixel_shuffle(x, 2)),
    "pixel_unshuffle": _plain(lambda x: functional.pixel_unshuffle(x, 2)),
    "channel_shuffle": _plain(lambda x: functional.channel_shuffle(x, 2)),
    "diagonal": _plain(lambda x: x.diagonal(0, -2, -1)),
    "unfold": _plain(lambda x: x.unfold(2, 2, 1).flatten(3)),
    "im2col": _plain(lambda x: functional.unfold(x, 2)),
    "overwritten": _plain(_overwritten),
    "zeroed": _plain(_zeroed),
    "copied": _plain(lambda x: torch.zeros_like(x).copy_(x.flip(1))),
    "column_first": _plain(
        lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    ),
}


# -- joining ---------------------------------------------------------------------------------------


def _join(f: Callable[[Tensor, Tensor], Tensor]) -> Draw:
    """f of the tensor and of a linear map of it with as many channels."""

    def draw(r: Random, h: Tensor) -> nn.Module:
        branch = nn.Sequential(_mix(r, h, h.shape[1]), r.choice((nn.ReLU(), nn.Identity())))
        return Net(lambda s, x: f(x, s.branch(x)), branch=branch)

    return draw


def _dense(r: Random, h: Tensor) -> nn.Module:
    """All earlier tensors of a block side by side."""
    layers = {}
    for i, channels in enumerate(itertools.accumulate([h.shape[1], 2, 3])):
        layers[f"f{i}"] = _OnChannels(nn.Linear(channels, 2 + i))

    def forward(s, x):
        for i in range(len(layers)):
            x = torch.cat([x, relu(s.get_submodule(f"f{i}")(x))], 1)
        return x

    return Net(forward, **layers)


_JOINS: dict[str, Draw] = {
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

_KINDS = [_WEIGHTS, _WEIGHTS, _NORMS, _POINTWISE, _POINTWISE, _POSITIONS, _MOVES, _JOINS]
