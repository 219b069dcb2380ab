"""`rescale_` and `diag_g` on random networks, called in every way, sound or broken.

Each call either raises what is documented, every tensor as it was, or its answer is right by plain
code. PATHCOND_FUZZ_EXAMPLES sets the number of examples of each.
"""

import copy
import math
import os

import numpy as np
import pytest
import torch
from broken_calls import calls
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_checks import assert_same_function, stationarity
from symmetry import rescaled
from torch import Tensor, nn

import pathcond_native as pc
from pathcond_native.engine.rounding import exponents

EXAMPLES = int(os.environ.get("PATHCOND_FUZZ_EXAMPLES", "60"))
SEEDS = range(4 if EXAMPLES == 60 else 150)
REFUSALS = (pc.InvalidInputError, pc.TraceError, pc.VerificationError)

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what these networks do
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # tracing takes seconds where the graph is not given
    derandomize=EXAMPLES == 60,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def bits(x):
    """All of a tensor."""
    if not isinstance(x, Tensor):
        return x
    strides = x.stride() if x.layout is torch.strided else x.layout
    where = (id(x), x.dtype, x.device, x.shape, strides, x.requires_grad)
    if x.is_meta:
        return where
    with torch.inference_mode(x.is_inference()):
        x = x.detach()
        parts = [x._indices(), x._values()] if x.is_sparse else [x]
        # A copy: views have strides, also those of one entry.
        flat = [y.reshape(-1).clone(memory_format=torch.contiguous_format) for y in parts]
    return (*where, *(y.view(torch.uint8).numpy().tobytes() for y in flat))


def state(call, parameters=True):
    """All of a call's model, of its optimiser and of the random numbers, with addresses."""
    model, held = call.model, call.optimizer.state if call.optimizer else {}
    kept = [
        [(n, bits(x)) for n, x in model.named_buffers()],
        [(n, m.training) for n, m in model.named_modules()],
        [(n, id(x), x.requires_grad) for n, x in model.named_parameters()],
        bits(torch.get_rng_state())[1:],
    ]
    if parameters:
        kept.append([(bits(x), bits(x.grad)) for x in model.parameters()])
        kept.append([{k: bits(v) for k, v in held[x].items()} for x in held])
    return kept


def in_float64(model):
    """A copy of a model whose parameters are used once each, in memory of their own."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        for name, x in list(module._parameters.items()):
            if x is not None:
                module._parameters[name] = nn.Parameter(x.detach().double().contiguous())
    return twin.double()


@fuzzed
@given(st.data())
def test_rescale_is_right_or_changes_nothing(data):
    call = data.draw(calls(SEEDS))
    before, rest = state(call), state(call, parameters=False)
    plain = all(x.layout is torch.strided and not x.is_inference() for x in call.model.parameters())
    old = copy.deepcopy(call.model) if plain else None  # others are refused
    try:
        report = pc.rescale_(call.model, call.inputs, **call.options)
    except REFUSALS as error:
        assert state(call) == before, error
        return
    assert state(call, parameters=False) == rest
    if report.nothing_because:
        assert state(call) == before
        return
    graph, options = call.options["graph"] or pc.trace(old, call.inputs), call.options
    u, strength = np.asarray(report.result.u), options.get("strength", 1.0)
    most = options.get("max_scale", math.inf)
    u = 2 * math.log(2) * exponents(u, strength, options.get("round_to"), most)
    wanted = in_float64(old)
    exact = rescaled(wanted, graph, u)
    exponent_error = 1e-15 * (1 + np.abs(u).max())
    for (name, x), y, z in zip(
        call.model.named_parameters(), exact.parameters(), old.parameters(), strict=True
    ):
        if not x.is_floating_point():
            assert bits(x)[1:] == bits(z)[1:], name
            continue
        y, eps = y.detach(), torch.finfo(x.dtype).eps
        allowed = (eps + exponent_error) * y.abs().clamp_min(torch.finfo(x.dtype).smallest_normal)
        assert bool(((x.detach().double() - y).abs() <= allowed).all()), f"{name} rounded twice"
    if options.get("verify", True):
        assert_same_function(wanted, exact, tuple(x.double() for x in wanted.inputs))
    if report.result.converged and options.get("criterion", "pathcond") == "pathcond":
        B = graph.incidence().astype(np.float64)
        g = pc.diag_g(old, call.inputs, graph=graph).numpy()
        found = stationarity(B, g, np.asarray(report.result.u), most)
        tolerance = options.get("tol")
        if tolerance is None:  # that of "cd" is the paper's
            tolerance = 1e-2 if options.get("method") == "cd" else 0.0
        assert found <= 1e-8 + float(tolerance), found


@fuzzed
@given(st.data())
def test_diag_g_is_right_or_refused(data):
    call = data.draw(calls(SEEDS))
    dtype = data.draw(st.sampled_from([torch.float64] * 4 + [torch.float32, torch.float16, "x"]))
    before, graph = state(call), call.options["graph"]
    try:
        g = pc.diag_g(call.model, call.inputs, graph=graph, dtype=dtype)
    except REFUSALS as error:
        assert state(call) == before, error
        return
    assert state(call) == before
    assert g.dtype == dtype
    assert g.shape == (sum(x.numel() for x in call.model.parameters()),)
    assert bool((torch.isfinite(g) & (g >= 0)).all())
    if dtype is not torch.float64:
        return
    graph = graph or pc.trace(call.model, call.inputs)
    u = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=graph.shape[1])
    model = in_float64(call.model)
    moved = pc.diag_g(rescaled(model, graph, u), call.inputs, graph=graph).numpy()
    expected = g.numpy() * np.exp(graph.incidence().astype(np.float64) @ u)
    seen = (expected > 1e-290) & (moved > 1e-290)  # below, entries end at the smallest number
    assert ((expected > 1e-280) <= (moved > 0)).all()
    factors = np.log(moved[seen] / expected[seen])  # one for all, where both were normalised
    assert factors.max(initial=-np.inf) - factors.min(initial=np.inf) <= 1e-8
