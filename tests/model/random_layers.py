"""Random blocks with parameters: maps of all kinds, repeated and shared ones, normalisation."""

from random import Random

import torch
from operator_modules import Raw
from random_blocks import Draw, OnChannels, mix, rank, ranked
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from zoo import Net

relu = functional.relu


def _convolution(r: Random, h: Tensor) -> nn.Module:
    channels, k = h.shape[1], r.choice((1, 2, 3))
    groups = r.choice([n for n in (1, 1, 2, channels) if channels % n == 0])
    return ranked("Conv", h)(
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
    return ranked("ConvTranspose", h)(
        channels,
        groups * r.choice((1, 2)),
        k,
        stride=r.choice((1, 2)),
        padding=r.randrange(k),
        groups=groups,
        bias=r.random() < 0.8,
    )


def _weight_norm(r: Random, h: Tensor) -> nn.Module:
    return OnChannels(parametrizations.weight_norm(nn.Linear(h.shape[1], 4)))


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
    shape = (h.shape[1], *[1] * rank(h))
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
    layers = {"a": mix(r, h, 3), "b": mix(r, h, 2)}

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

    return Net(forward, f=OnChannels(nn.Linear(channels, channels, bias=r.random() < 0.5)))


def _transposed_twin(r: Random, h: Tensor) -> nn.Module:
    """Encoder and decoder share a matrix."""

    def forward(s, x):
        x = relu(functional.linear(x.movedim(1, -1), s.w))
        return functional.linear(x, s.w.t()).movedim(-1, 1)

    return Raw(forward, {"w": (3, h.shape[1])})


WEIGHTS: dict[str, Draw] = {
    "linear": mix,
    "linear_again": mix,
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


def _batch_norm(r: Random, h: Tensor) -> nn.Module:
    dim = max(1, rank(h))
    norm = getattr(nn, f"BatchNorm{dim}d")(
        h.shape[1], affine=r.random() < 0.8, track_running_stats=r.random() < 0.8
    )
    if norm.track_running_stats:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


NORMS: dict[str, Draw] = {
    "batch_norm": _batch_norm,
    "layer_norm": lambda r, h: OnChannels(
        nn.LayerNorm(h.shape[1], elementwise_affine=r.random() < 0.8)
    ),
    "rms_norm": lambda r, h: OnChannels(nn.RMSNorm(h.shape[1])),
    "group_norm": lambda r, h: nn.GroupNorm(r.choice((1, 2)), h.shape[1], affine=r.random() < 0.8),
    "instance_norm": lambda r, h: ranked("InstanceNorm", h)(
        h.shape[1], affine=r.random() < 0.8, track_running_stats=r.random() < 0.5
    ),
}
