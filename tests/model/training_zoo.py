"""Optimisers, and what tests of rescaling in training share: seeded batches, bits of everything."""

import importlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from zoo import mlp

from pathcond_native.model import RescalingGraph, trace

criteria = importlib.import_module("pathcond_native.engine.criteria")

Make = Callable[[Iterator[nn.Parameter]], Optimizer]

# Tiny eps: replayed gradients are then an oracle for the state to rounding.
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: optim.SGD(p, lr=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.2),
    "nesterov": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "momentum_foreach": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, foreach=True),
    "momentum_fused": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
    "maximize": lambda p: optim.SGD(p, lr=1e-4, momentum=0.9, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, eps=1e-60),
    "adam_foreach": lambda p: optim.Adam(p, lr=0.01, eps=1e-60, foreach=True),
    "adam_fused": lambda p: optim.Adam(p, lr=0.01, eps=1e-60, fused=True),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, eps=1e-60, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, eps=1e-60, weight_decay=0.0),
    "adamw_amsgrad": lambda p: optim.AdamW(p, eps=1e-60, weight_decay=0.0, amsgrad=True),
    "nadam": lambda p: optim.NAdam(p, lr=0.01, eps=1e-60),
    "radam": lambda p: optim.RAdam(p, lr=0.01, eps=1e-60, betas=(0.9, 0.8)),
    "adamax": lambda p: optim.Adamax(p, lr=0.01, eps=1e-60),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01, eps=1e-60),
    "adagrad_from_1": lambda p: optim.Adagrad(p, lr=0.01, initial_accumulator_value=1.0),
    "adagrad_fused": lambda p: optim.Adagrad(p, lr=0.01, eps=1e-60, fused=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-60),
    "rmsprop_all": lambda p: optim.RMSprop(p, lr=1e-3, eps=1e-60, momentum=0.9, centered=True),
    "adadelta": lambda p: optim.Adadelta(p, eps=1e-25),
    "asgd": lambda p: optim.ASGD(p, lr=0.01, t0=0, lambd=0.0),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
}
if hasattr(optim, "Muon"):
    OPTIMIZERS["muon"] = lambda p: optim.Muon([x for x in p if x.dim() == 2], weight_decay=0.0)


def network() -> tuple[nn.Module, RescalingGraph, np.ndarray]:
    """A float64 network, its graph, and exponents of two for its neurons."""
    model = mlp(6, 9, 7, 3).double()
    return model, trace(model, batch(0, 16, 6)), np.random.default_rng(0).uniform(-3, 3, 16)


def batch(step: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The inputs of a training step: the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(step), dtype=dtype)


def train(model: nn.Module, optimizer: Optimizer, steps: range, shape: tuple[int, ...]) -> None:
    """Minimise (outputs - 1)²; gradients stay as the last step left them."""
    dtype = next(model.parameters()).dtype
    for step in steps:
        optimizer.zero_grad()
        ((model(batch(step, *shape, dtype=dtype)) - 1) ** 2).mean().backward()
        optimizer.step()


def choose(monkeypatch, log2: np.ndarray) -> None:
    """Have every rescaling apply these exponents of two times `strength`, not the optimum's."""
    monkeypatch.setattr(criteria, "exponents", lambda u, strength, *_: strength * log2)


def factors(graph: RescalingGraph, log2: np.ndarray) -> list[Tensor]:
    """What each parameter is multiplied by, from the matrix B alone."""
    s = np.exp2(-(graph.incidence().astype(np.float64) @ log2))
    return [
        torch.from_numpy(s[x.offset : x.offset + x.size]).reshape(x.shape) for x in graph.parameters
    ]


def everything(model: nn.Module, *optimizers: Optimizer) -> list[object]:
    """Objects and bits of parameters, buffers, gradients and state, and the random numbers."""

    def raw(x):
        return (id(x), x.detach().to_dense().numpy().tobytes()) if isinstance(x, Tensor) else x

    held = [x for o in optimizers for group in o.param_groups for x in group["params"]]
    return [
        [(name, raw(x), raw(x.grad)) for name, x in model.named_parameters()],
        [(name, raw(x)) for name, x in model.named_buffers()],
        [(raw(x), raw(x.grad)) for x in held],
        [
            {k: raw(v) for k, v in o.state[x].items()}
            for o in optimizers
            for x in held
            if x in o.state
        ],
        torch.get_rng_state().numpy().tobytes(),
    ]
