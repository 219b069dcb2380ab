"""Calls of `rescale_` and `diag_g` on random networks, sound ones and ones altered in some way.

Every alteration gets hypothesis' `draw` and the call, and changes the call.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from random_checks import WEIGHTS, redrawn
from random_networks import random_network
from torch import nn
from torch.optim import Optimizer

from pathcond_native.model import RescalingGraph, trace

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
FLOAT8 = torch.float8_e4m3fn
NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e-310, 1e-30, 1e30, 1e200, 1.7e308)


class Call:
    """A model and the arguments beside it. `graph` is what tracing the unaltered model gave."""

    def __init__(self, seed: int, model: nn.Module, inputs: Any, graph: RescalingGraph) -> None:
        self.seed, self.model, self.inputs, self.graph = seed, model, inputs, graph
        self.dtype = inputs[0].dtype
        self.options: dict[str, Any] = {"graph": graph}
        self.optimizer: Optimizer | None = None
        self.done: list[str] = []

    def __repr__(self) -> str:
        dtypes = {x.dtype for x in self.model.parameters()}
        return f"<network {self.seed}, {dtypes}, {self.done}, {self.options}>"


@functools.cache
def network(seed: int) -> tuple[nn.Module, RescalingGraph]:
    model = random_network(seed)
    return model, trace(model, model.inputs)


@st.composite
def calls(draw, seeds: range) -> Call:
    """Of networks with these seeds; half of the calls are altered once or more."""
    seed = draw(st.sampled_from(seeds))
    built, graph = network(seed)
    model = redrawn(built, draw(st.sampled_from(sorted(WEIGHTS))), draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(DTYPES))
    inputs = tuple(x.to(dtype) for x in built.inputs)
    call = Call(seed, model.to(dtype), inputs, graph)
    for parameter in model.parameters():
        if draw(st.integers(0, 9)) == 9:
            draw(st.sampled_from(LAYOUTS))(parameter)
        parameter.requires_grad_(draw(st.integers(0, 9)) < 9)
        if draw(st.integers(0, 9)) == 9:
            parameter.grad = torch.full_like(parameter, draw(st.sampled_from((0.0, 1.0, np.nan))))
    while draw(st.integers(0, 3)) >= 2:
        alter = draw(st.sampled_from(ALTERATIONS))
        call.done.append(alter.__name__)
        alter(draw, call)
    return call


# -- how a parameter may lie in memory -------------------------------------------------------------


def _spread(x: nn.Parameter) -> None:
    x.data = torch.stack([x.data, x.data], -1)[..., 0]


def _last_first(x: nn.Parameter) -> None:
    order = list(range(x.dim()))[::-1]
    x.data = x.data.permute(order).contiguous().permute(order)


def _inside(x: nn.Parameter) -> None:
    x.data = torch.cat([x.data.reshape(-1), x.data.new_ones(5)])[: x.numel()].view(x.shape)


LAYOUTS: tuple[Callable[[nn.Parameter], None], ...] = (_spread, _last_first, _inside)


# -- alterations -----------------------------------------------------------------------------------


def _parameter(draw, call: Call) -> tuple[nn.Module, str, nn.Parameter]:
    held = [(m, n, x) for m in call.model.modules() for n, x in m.named_parameters(recurse=False)]
    return draw(st.sampled_from(held))


def _number(draw, call: Call) -> None:
    _, _, x = _parameter(draw, call)
    if x.is_floating_point() and not x.is_meta and x.layout is torch.strided and x.numel():
        value = torch.tensor(draw(st.sampled_from(NUMBERS)), dtype=torch.float64).to(x.dtype)
        with torch.inference_mode(x.is_inference()), torch.no_grad():
            x[tuple(draw(st.integers(0, n - 1)) for n in x.shape)] = value


def _of_another_kind(draw, call: Call) -> None:
    module, name, x = _parameter(draw, call)
    dtypes = (*DTYPES, torch.int32, torch.bool, torch.complex64, FLOAT8)
    other = x.detach().to(draw(st.sampled_from(dtypes)))
    module._parameters[name] = nn.Parameter(other, requires_grad=False)


def _of_another_shape(draw, call: Call) -> None:
    module, name, x = _parameter(draw, call)
    shapes = ((), (0,), (1,), (*x.shape, 1), x.shape[::-1], x.shape[1:], (x.numel(),))
    other = torch.ones(draw(st.sampled_from(shapes))).to(x.dtype)
    module._parameters[name] = nn.Parameter(other, x.requires_grad)


def _elsewhere(draw, call: Call) -> None:
    module, name, x = _parameter(draw, call)
    where = draw(st.sampled_from(("meta", "sparse", "inference", "nowhere")))
    if where == "inference":
        with torch.inference_mode():
            other = nn.Parameter(x.detach().clone(), requires_grad=False)
    elif where == "nowhere":
        other = None
    else:
        refused = x.is_meta or x.dim() == 0 or x.dtype is FLOAT8  # by torch, as sparse tensors
        sparse = where == "sparse" and not refused
        moved = x.detach().to_sparse() if sparse else x.detach().to("meta")
        other = nn.Parameter(moved, requires_grad=False)
    module._parameters[name] = other


def _shared(draw, call: Call) -> None:
    """One parameter in the place of another, one that shares its memory, or its own repeated."""
    module, name, x = _parameter(draw, call)
    _, _, other = _parameter(draw, call)
    kind = draw(st.sampled_from(("object", "memory", "expanded")))
    if kind == "object" and other.numel() == x.numel():
        module._parameters[name] = other
    elif not all(y.layout is torch.strided for y in (x, other)):
        return
    elif kind == "expanded" and x.dim():
        x.data = x.data[:1].expand(x.shape)
    elif other.numel() == x.numel() and (other.dtype, other.device) == (x.dtype, x.device):
        x.data = other.data.reshape(x.shape)


def _inputs(draw, call: Call) -> None:
    x = call.model.inputs[0].to(call.dtype)
    others = (
        *(None, "x", 3, [], (), {}, (None,), {"h": x}, {"x": x}, {1: x}, (x, x), [[x]], x.numpy),
        *(x.double(), x.half(), x.long(), x.to(torch.complex128), x.bool(), x.to("meta")),
        *(x[:0], x[:1], x[0], x.flatten(), x.unsqueeze(0), torch.cat([x, x]), torch.tensor(1.0)),
        *(x * np.nan, x * np.inf, x * 1e30, x * 0, x.to_sparse(), x.double().requires_grad_()),
        *(x.transpose(0, -1).contiguous().transpose(0, -1), x[:1].expand(x.shape)),
    )
    call.inputs = draw(st.sampled_from(others))


def _options(draw, call: Call) -> None:
    graphs = [call.graph, None, "x", network(0)[1], network(1)[1]]
    values = {
        "criterion": ("enorm", "cle", "pathcond", "", None, 1),
        "method": ("cd", "newton", "auto", "x", None),
        "tol": (0, 1e-6, 1, np.nan, np.inf, -1, "1"),
        "max_sweeps": (0, 1, 3, -1, 1.5, 2**40),
        "max_scale": (1, 1.5, 32, 1e300, np.inf, 0.5, np.nan, "2"),
        "strength": (0, 0.5, 2, -1, 1e3, 1e300, np.nan, np.inf, "1", True, None),
        "round_to": ("power_of_two", "x", 2),
        "verify": (False, 1, None),
        "threads": (1, 2, 0, -1, None, 1.5),
        "spread": (True,),
        "powers": ({}, {"momentum_buffer": -1}, {"x": np.nan}, 3),
        "graph": graphs,
    }
    name = draw(st.sampled_from(sorted(values)))
    call.options[name] = draw(st.sampled_from(values[name]))


def _optimizer(draw, call: Call) -> None:
    kinds = (
        lambda x: torch.optim.SGD(x, 0.01, momentum=0.9),
        lambda x: torch.optim.Adam(x, 0.01),
        lambda x: torch.optim.Adafactor(x, 0.01),
        lambda x: "an optimiser",
    )
    floats = [x for x in call.model.parameters() if x.requires_grad and x.is_floating_point()]
    # Adafactor divides by the number of entries.
    trained = [x for x in floats if 0 not in x.stride() and x.numel()]
    of = trained if draw(st.integers(0, 3)) else [nn.Parameter(torch.ones(2))]
    if not of:
        return
    call.options["optimizer"] = optimizer = draw(st.sampled_from(kinds))(of)
    if isinstance(optimizer, Optimizer):
        call.optimizer = optimizer
        kept = [x.grad for x in of]
        for x in of:
            if not x.is_meta:
                x.grad = torch.ones_like(x)
        before = [x.detach().clone() for x in of]
        optimizer.step()
        for x, old, grad in zip(of, before, kept, strict=True):
            x.data.copy_(old)
            x.grad = grad


ALTERATIONS = (
    _number,
    _of_another_kind,
    _of_another_shape,
    _elsewhere,
    _shared,
    _inputs,
    _options,
    _options,
    _optimizer,
)
