"""Small models, each with one trap, and the number of neurons the mathematics allows."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathcond_native.model import RescalingGraph, trace


class Net(nn.Module):
    """Layers given by keyword, and a forward function of (self, x)."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args, **kwargs):
        return self.body(self, *args, **kwargs)


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    neurons: int
    unsupported: tuple[str, ...] = ()

    def build(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A new model in training mode; made in the dtype, since conversion would untie weights."""
        standard = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return self.make()
        finally:
            torch.set_default_dtype(standard)


@functools.cache
def graph_of(name: str) -> RescalingGraph:
    """The traced graph of a case, shared by all tests: it does not depend on values or dtypes."""
    case = ZOO[name]
    return trace(case.build(), torch.randn(case.inputs))


def trained(model: nn.Module) -> nn.Module:
    """Random statistics and affine parameters, some of them negative."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.track_running_stats:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def between(f: Callable[[Tensor], Tensor], hidden: int = 6) -> Callable[[], nn.Module]:
    """linear - relu - linear - f - linear."""
    return lambda: Net(
        lambda s, x: s.c(f(s.b(functional.relu(s.a(x))))),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, hidden),
        c=nn.Linear(6, 3),
    )


def tied(both_used: bool) -> nn.Module:
    model = Net(
        lambda s, x: s.d(functional.relu(s.c(functional.relu(s.b(functional.relu(s.a(x))))))),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 5),
        c=nn.Linear(5, 5),
        d=nn.Linear(5, 3),
    )
    if both_used:
        model.c.weight = model.b.weight
    return model


def sharing_storage() -> nn.Module:
    model = tied(False)
    model.c.weight = nn.Parameter(model.b.weight.detach())
    return model


class RawParameter(nn.Module):
    """A parameter that is an operand, not a layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)
        self.gain = nn.Parameter(torch.rand(5) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(x)) * self.gain)


class TransposedWeight(nn.Module):
    """An autoencoder whose decoder is the transposed encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.b = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.b(functional.relu(self.a(x))))
        return functional.linear(
            functional.relu(functional.linear(hidden, self.b.weight.t())), self.a.weight.t()
        )


def residual() -> nn.Module:
    """The stem and the second convolution write the same six channels."""

    def forward(s, x):
        h = functional.relu(s.stem(x))
        h = h + s.second(functional.relu(s.first(h)))
        return s.head(s.last(h).mean((2, 3)))

    return Net(
        forward,
        stem=nn.Conv2d(3, 6, 3, padding=1),
        first=nn.Conv2d(6, 7, 3, padding=1),
        second=nn.Conv2d(7, 6, 3, padding=1),
        last=nn.Conv2d(6, 4, 1),
        head=nn.Linear(4, 2),
    )


def residual_stream() -> nn.Module:
    """Every block reads and writes the same eight channels."""

    def forward(s, x):
        h = s.stem(x)
        for i in range(3):
            h = h + s.get_submodule(f"down{i}")(functional.relu(s.get_submodule(f"up{i}")(h)))
        return s.head(h)

    blocks = {f"up{i}": nn.Linear(8, 12) for i in range(3)}
    blocks |= {f"down{i}": nn.Linear(12, 8) for i in range(3)}
    return Net(forward, stem=nn.Linear(4, 8), head=nn.Linear(8, 3), **blocks)


def conv_norm(dim: int) -> nn.Module:
    conv = getattr(nn, f"Conv{dim}d")
    norm = getattr(nn, f"BatchNorm{dim}d")
    return trained(
        nn.Sequential(
            conv(2, 4, 3, padding=1),
            norm(4),
            nn.ReLU(inplace=True),
            conv(4, 5, 3, padding=1, bias=False),
            norm(5),
            nn.ReLU(),
            conv(5, 3, 1),
            getattr(nn, f"AdaptiveAvgPool{dim}d")(1),
            nn.Flatten(),
            nn.Linear(3, 2),
        )
    )


def flatten_after(pool: nn.Module, size: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4 * size, 5)
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 6, 2, stride=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(6, 3, 1),
    )


def branches() -> nn.Module:
    return Net(
        lambda s, x: s.head(torch.cat([functional.relu(s.a(x)), s.b(x).relu()], dim=1)).mean(
            (2, 3)
        ),
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.Conv2d(3, 5, 1),
        head=nn.Conv2d(9, 2, 1),
    )


def linear_on_positions() -> nn.Module:
    """A matrix over positions, the same for all channels: the channels share one scale."""
    return Net(
        lambda s, x: s.out(s.mix(functional.relu(s.conv(x))).mean(1)),
        conv=nn.Conv1d(3, 4, 1),
        mix=nn.Linear(7, 5),
        out=nn.Linear(5, 2),
    )


ZOO: dict[str, Case] = {
    "mlp": Case(lambda: mlp(20, 32, 16, 24, 5), (3, 20), 72),
    "mlp_unbatched": Case(lambda: mlp(6, 5, 4), (6,), 5),
    "mlp_on_sequences": Case(lambda: mlp(6, 5, 4, 3), (2, 7, 6), 9),
    "no_hidden": Case(lambda: nn.Linear(4, 3), (2, 4), 0),
    "linear_linear": Case(lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), (2, 4), 5),
    "conv_pool_flatten": Case(flatten_after(nn.MaxPool2d(2), 9), (2, 3, 6, 6), 4),
    "conv_avg_flatten": Case(flatten_after(nn.AvgPool2d(3, 2, 1), 9), (2, 3, 6, 6), 4),
    "conv_adaptive_flatten": Case(flatten_after(nn.AdaptiveMaxPool2d(2), 4), (2, 3, 5, 5), 4),
    "conv_unbatched": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), (3, 6, 6), 4
    ),
    "norm1d": Case(lambda: conv_norm(1), (4, 2, 6), 12),
    "norm2d": Case(lambda: conv_norm(2), (4, 2, 5, 5), 12),
    "norm3d": Case(lambda: conv_norm(3), (4, 2, 3, 3, 3), 12),
    "residual": Case(residual, (2, 3, 5, 5), 17),
    "residual_stream": Case(residual_stream, (2, 4), 44),
    "grouped": Case(grouped, (2, 4, 5, 5), 36),
    "branches": Case(branches, (2, 3, 5, 5), 9),
    "linear_on_positions": Case(linear_on_positions, (2, 3, 7), 6),
    "prelu": Case(lambda: mlp(4, 5, 6, 3, activation=nn.PReLU), (2, 4), 11),
    "leaky": Case(lambda: mlp(4, 5, 6, 3, activation=nn.LeakyReLU), (2, 4), 11),
    "inplace": Case(lambda: mlp(4, 5, 6, 3, activation=lambda: nn.ReLU(True)), (2, 4), 11),
    "dropout": Case(
        between(lambda h: functional.relu(functional.dropout(h, training=False))), (2, 4), 11
    ),
    "double_add": Case(between(lambda h: torch.add(h, functional.relu(h), alpha=3)), (2, 4), 11),
    "subtract": Case(between(lambda h: h.relu() - h), (2, 4), 11),
    "python_sum": Case(between(lambda h: sum([h.relu(), h])), (2, 4), 11),
    "scaled": Case(between(lambda h: 0.5 * h / 3), (2, 4), 11),
    "clamp_at_zero": Case(between(lambda h: h.clamp(min=0)), (2, 4), 11),
    "broadcast_sum": Case(between(lambda h: h + h.mean(1, keepdim=True)), (2, 4), 6),
    "fold_channels": Case(
        between(lambda h: torch.cat([h, h], 1).view(-1, 2, 6).transpose(0, 1).sum(0)), (2, 4), 11
    ),
    "reversed_fold": Case(between(lambda h: h.view(-1, 2, 3).sum(1).repeat(1, 2)), (2, 4), 8),
    "tanh": Case(between(torch.tanh), (2, 4), 5, ("aten.tanh",)),
    "gelu": Case(between(functional.gelu), (2, 4), 5, ("aten.gelu",)),
    "sigmoid": Case(between(torch.sigmoid), (2, 4), 5, ("aten.sigmoid",)),
    "relu6": Case(between(nn.ReLU6()), (2, 4), 5, ("aten.hardtanh",)),
    "hardtanh": Case(between(functional.hardtanh), (2, 4), 5, ("aten.hardtanh",)),
    "clamp": Case(between(lambda h: h.clamp(0, 1)), (2, 4), 5, ("aten.clamp",)),
    "threshold": Case(
        between(lambda h: functional.threshold(h, 0.1, 0.0)), (2, 4), 5, ("aten.threshold",)
    ),
    "softmax": Case(between(lambda h: h.softmax(-1)), (2, 4), 5, ("aten.softmax",)),
    "plus_one": Case(between(lambda h: functional.relu(h + 1)), (2, 4), 5, ("aten.add",)),
    "inplace_plus_one": Case(between(lambda h: h.add_(1).relu_()), (2, 4), 5, ("aten.add",)),
    "square": Case(between(lambda h: h * h), (2, 4), 11),
    "power": Case(between(lambda h: h**2), (2, 4), 11),
    "layer_norm": Case(between(lambda h: functional.layer_norm(h, (6,))), (2, 4), 5),
    "bias_from_input": Case(
        lambda: Net(
            lambda s, x: s.b(functional.linear(functional.relu(s.a(x)), s.c(x).T @ x, None)),
            a=nn.Linear(4, 4),
            b=nn.Linear(5, 3),
            c=nn.Linear(4, 5),
        ),
        (2, 4),
        0,
        ("aten.linear",),
    ),
    "reused": Case(
        lambda: Net(
            lambda s, x: s.c(functional.relu(s.b(functional.relu(s.b(functional.relu(s.a(x))))))),
            a=nn.Linear(4, 5),
            b=nn.Linear(5, 5),
            c=nn.Linear(5, 3),
        ),
        (2, 4),
        5,
    ),
    "tied": Case(lambda: tied(True), (2, 4), 6),
    "sharing_storage": Case(sharing_storage, (2, 4), 1),
    "untied": Case(lambda: tied(False), (2, 4), 15),
    "transposed_weight": Case(TransposedWeight, (2, 6), 5),
    "raw_parameter": Case(RawParameter, (2, 4), 10),
}
