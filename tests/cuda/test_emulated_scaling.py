"""Parameters scaled where they lie, the device played by the host, against the host and NumPy."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_emulated_arrays import EXAMPLE
from torch import nn

import pathcond_native as pc
from pathcond_native import _core, device, device_scaling
from pathcond_native import model as model_package
from pathcond_native.device_scaling import scale_on_device, scaling
from pathcond_native.engine.factors import multiplied

apply = sys.modules[f"{model_package.__name__}.apply"]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SPREAD = {torch.float32: 44, torch.float64: 320, torch.bfloat16: 44, torch.float16: 8}
"""Decades below 1 that entries reach, denormal numbers among them."""


def drawn(r, shape, dtype, order=None):
    """Both signs, over many decades, some 0; the axes in memory in this order."""
    size = math.prod(shape)
    low = SPREAD[dtype]
    x = r.choice([-1, 1], size) * 10.0 ** r.uniform(-low, low / 20, size)
    x = torch.from_numpy(np.where(r.random(size) < 0.1, 0, x).reshape(shape)).to(dtype)
    if order is None:
        return x
    return x.permute(order).contiguous().permute(np.argsort(order).tolist())


def expected(x, factors):
    """By the host, and the rounding of torch; how many entries are not finite, and lost."""
    first, second = (*factors, np.ones(1))[:2]
    product = multiplied(x.double().numpy(), first, second).reshape(x.shape)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        by_first = x.double().numpy() * first
        normal = np.isfinite(by_first) & (np.abs(by_first) >= np.finfo(float).smallest_normal)
        assert np.array_equal(product[normal], (by_first * second).reshape(x.shape)[normal])
    new, tiny = torch.from_numpy(product).to(x.dtype), torch.finfo(x.dtype).tiny
    lost = (new.abs() < tiny) & (new.abs() < x.abs())
    return new, (int((~new.isfinite()).sum()), int(lost.sum()))


def same(a, b):
    """Bit for bit, but for what NaN looks like."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    nan = a.isnan().numpy()
    a_bits, b_bits = (x.contiguous().view(bits).numpy() for x in (a, b))
    return np.array_equal(nan, b.isnan().numpy()) and bool(((a_bits == b_bits) | nan).all())


def check(state, cases):
    """Scales all cases (tensor, factors) in one launch, in both orders of blocks and threads."""
    wanted = [expected(x, factors) for x, factors in cases]
    for state.late in (False, True):
        state.launches.clear()
        fresh = [torch.empty_like(x).copy_(x) for x, _ in cases]
        plans = [scaling(x, factors) for x, (_, factors) in zip(fresh, cases, strict=True)]
        assert scale_on_device(plans) == [counts for _, counts in wanted]
        assert len(state.launches) == 1
        for x, (new, _) in zip(fresh, wanted, strict=True):
            assert same(x, new), (x.shape, x.stride(), x.dtype)


def varying(r, shape, both, dtype):
    """A factor, and one that often undoes it, each varying along some axes."""
    most = SPREAD[dtype] / 3
    for axes, sign in zip(both, (-1, 1), strict=True):
        size = [n if axis in axes else 1 for axis, n in enumerate(shape)]
        yield 10.0 ** (sign * r.uniform(-most / 10, most, size))


SHAPES = [(), (1,), (7,), (1, 5), (5, 1), (6, 9), (4, 3, 9), (2, 70, 1)]
LARGE = [(4096,), (4097,), (2, 4096), (2, 5001), (5001, 2), (70, 15, 9), (2, 2, 5000)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [SHAPES, LARGE], ids=["small", "of several tiles"])
def test_factors_along_every_axis(shapes, dtype, emulated):
    r, cases = np.random.default_rng(0), []
    for shape in shapes:
        along = [x for n in range(len(shape) + 1) for x in itertools.combinations(range(n), n)]
        along += [(axis,) for axis in range(1, len(shape))]
        pairs = list(itertools.product(along, repeat=2))
        for k in r.permutation(len(pairs))[:20]:
            factors = list(varying(r, shape, pairs[k], dtype))
            cases.append((drawn(r, shape, dtype), factors))
        cases.append((drawn(r, shape, dtype), factors[:1]))
    check(emulated, cases)


@st.composite
def a_case(draw):
    rank = draw(st.integers(0, 4))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(rank))
    if shape and draw(st.booleans()):
        axis = draw(st.integers(0, rank - 1))
        shape = (*shape[:axis], draw(st.sampled_from([500, 4095, 4096, 5000])), *shape[axis + 1 :])
    r = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    dtype, order = draw(st.sampled_from(DTYPES)), draw(st.permutations(range(rank)))
    along = [{axis for axis in range(rank) if draw(st.booleans())} for _ in range(2)]
    factors = list(varying(r, shape, along, dtype))
    return drawn(r, shape, dtype, order), factors[: draw(st.integers(1, 2))]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cases=st.lists(a_case(), min_size=1, max_size=4))
def test_any_shapes_in_any_order_of_memory(cases, emulated):
    known = [case for case in cases if scaling(*case) is not None]
    assert all(len([n for n in x.shape if n > 1]) > 3 for x, _ in cases if scaling(x, _) is None)
    if known:
        check(emulated, known)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_sixteen_bits(dtype, emulated):
    """To ties between two numbers and beside them, to denormal and infinite ones."""
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)
    sizes = [1.0, 1 / 3, 1.5, 1 + 2.0**-30, 1 - 2.0**-30, 2.0**-9, 1.25 * 2.0**-13, 300.0]
    check(emulated, [(x, [np.full(1, size)]) for size in sizes])


class Grouped(nn.Module):
    """Linear layers and convolutions of every kind, one number for all neurons, and no entries."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3))
        self.none = nn.Parameter(torch.empty(0, 3))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, groups=32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 49, 64, bias=False),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        return self.layers(x)


def networks(module):
    """A network, in every format and dtype of its parameters."""
    torch.manual_seed(0)
    first = module()
    yield first
    yield module().to(memory_format=torch.channels_last)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        yield module().to(dtype)
    mixed = module()
    for layer, dtype in zip(mixed.layers, itertools.cycle(DTYPES), strict=False):
        layer.to(dtype)
    yield mixed


def test_a_network_gets_the_bits_that_it_gets_on_the_host(play):
    graph = pc.trace(Grouped(), EXAMPLE)
    exponents = np.random.default_rng(0).normal(0, 3, graph.shape[1])
    for module in networks(Grouped):
        before = [x.detach().clone() for x in module.parameters()]
        told = apply.rescale_parameters(module, graph, exponents)
        wanted = [x.detach().clone() for x in module.parameters()]
        with torch.no_grad():
            for x, old in zip(module.parameters(), before, strict=True):
                x.copy_(old)
        objects = list(module.parameters())
        versions = [x._version for x in module.parameters()]
        state = play(lambda x: isinstance(x, torch.Tensor))
        found = apply.rescale_parameters(module, graph, exponents)
        assert list(found.items()) == list(told.items())
        assert len(state.launches) == 1 and len(state.launches[0]) == len(told) == 10
        names = [name for name, _ in module.named_parameters()]
        for name, x, new, version in zip(names, module.parameters(), wanted, versions, strict=True):
            assert same(x.detach(), new) and x._version == version + (name in told)
        assert all(a is b for a, b in zip(module.parameters(), objects, strict=True))
        play(lambda x: False)


def test_numbers_per_neuron_go_to_the_device(emulated, model):
    graph = pc.trace(model, EXAMPLE)
    exponents = np.random.default_rng(0).normal(0, 1, graph.shape[1])
    apply.rescale_parameters(model, graph, exponents)
    assert emulated.allocations == [False, True], "one piece of either memory"
    channels = sum(sum(x.shape[:2]) for x in model.parameters())
    assert emulated.on_device == emulated.on_host <= 8 * channels + 400 * 10
    assert all(piece() is None for piece in emulated.pieces)


def test_what_the_core_does_not_know_is_scaled_by_torch(emulated, model):
    graph = pc.trace(model, EXAMPLE)
    exponents = np.random.default_rng(0).normal(0, 1, graph.shape[1])
    expected_model = pc.rescale(model, EXAMPLE, strength=0)
    apply.rescale_parameters(expected_model, graph, exponents)
    emulated.launches.clear()
    wide = torch.empty(64, 2 * 512)
    wide[:, ::2] = model[7].weight.detach()
    model[7].weight = nn.Parameter(wide[:, ::2])
    apply.rescale_parameters(model, graph, exponents)
    assert len(emulated.launches) == 1 and len(emulated.launches[0]) == 8
    for a, b in zip(model.parameters(), expected_model.parameters(), strict=True):
        assert torch.equal(a, b)
    emulated.launches.clear()
    apply.rescale_parameters(model, graph, np.round(exponents), exact=True)
    assert emulated.launches == []


def test_what_is_no_contiguous_array_of_three_axes(emulated):
    x = torch.ones(4, 6, 2, 5)
    ones = np.ones((1, 1, 1, 1))
    checkered = np.ones((4, 1, 2, 1)), np.ones((1, 6, 1, 5))
    for array, factors in (
        (x[:, ::2], [ones]),
        (torch.ones(4, 1).expand(4, 3), [np.ones((1, 1))]),
        (x.long(), [ones]),
        (x.to(torch.complex64), [ones]),
        (x, checkered),
    ):
        assert scaling(array, factors) is None
    assert scaling(x, [ones]).shape == (1, 1, 240)
    assert scaling(x, [np.ones((4, 6, 1, 1))]).shape == (1, 24, 10)


def test_a_device_that_cannot_be_used_is_left_to_torch(emulated, model, monkeypatch):
    monkeypatch.setattr(device, "_status", lambda _: ("not built", ""))
    graph = pc.trace(model, EXAMPLE)
    exponents = np.random.default_rng(0).normal(0, 1, graph.shape[1])
    assert len(apply.rescale_parameters(model, graph, exponents)) == 9, "and no warning"
    assert emulated.launches == []


@pytest.mark.parametrize("bad", [3e38, math.nan])
def test_out_of_range(bad, emulated, model):
    graph = pc.trace(model, EXAMPLE)
    with torch.no_grad():
        model[7].weight[5, 3] = bad
    with pytest.raises(pc.VerificationError, match=r"'7\.weight' would overflow torch.float32"):
        apply.rescale_parameters(model, graph, np.linspace(0, 3, graph.shape[1]))
    assert len(emulated.launches) == 1


def test_an_overflow_leaves_everything_untouched(emulated, model):
    with torch.no_grad():
        model[7].weight *= 2.0**120
    before = [x.detach().clone() for x in model.parameters()]
    with pytest.raises(pc.VerificationError, match="would overflow"):
        pc.rescale_(model, EXAMPLE, strength=8.0, verify=False)
    assert len(emulated.launches) == 1
    assert all(map(torch.equal, before, model.parameters()))


def test_too_little_memory_leaves_everything_untouched(emulated, model, monkeypatch):
    scale = device_scaling.scale_on_device

    def with_less(scalings):
        emulated.bytes_left = 1000
        return scale(scalings)

    monkeypatch.setattr(apply, "scale_on_device", with_less)
    before = [x.detach().clone() for x in model.parameters()]
    with pytest.raises(pc.DeviceMemoryError):
        pc.rescale_(model, EXAMPLE)
    assert all(map(torch.equal, before, model.parameters()))


def test_an_error_of_the_runtime_is_told(emulated, model, monkeypatch):
    def fail(*_, **__):
        raise _core.DeviceError("launching a kernel: unspecified")

    monkeypatch.setattr(_core, "scale_on_device", fail)
    before = [x.detach().clone() for x in model.parameters()]
    with pytest.raises(pc.DeviceError, match="launching a kernel"):
        pc.rescale_(model, EXAMPLE)
    assert all(map(torch.equal, before, model.parameters()))


def test_cupy_arrays(cupy, play):
    state = play(lambda x: isinstance(x, cupy.ndarray))
    x = cupy.asarray(np.ones((3, 4), np.float32))
    factor = np.arange(1.0, 5.0).reshape(1, 4)
    assert scale_on_device([scaling(x, [factor])]) == [(0, 0)] and state.launches == [["float32"]]
    assert np.array_equal(x.get(), np.broadcast_to(factor, (3, 4)))


def test_what_does_not_fit_is_refused():
    x, factors = np.ones(6), np.ones(3)
    fits = (0, (1, 0, 0))
    for dtype, shape, place, message in (
        ("int32", (3, 1, 2), fits, "must be"),
        ("float64", (3, 0, 2), fits, "sizes from 1"),
        ("float64", (3, 1, 2), (0, (-1, 0, 0)), "steps from 0"),
        ("float64", (3, 1, 2), (-1, (0, 0, 0)), "among those given"),
        ("float64", (3, 1, 2), (1, (1, 0, 0)), "among those given"),
        ("float64", (3, 1, 2), (0, (0, 0, 1 << 31)), "among those given"),
    ):
        for both in ((place, fits), (fits, place)):
            parameter = (x.ctypes.data, dtype, shape, *both)
            with pytest.raises((TypeError, ValueError), match=message):
                _core.scale_emulated([parameter], factors, lambda *_: 0, late=False)
    if _core.cuda_status()[0] != "ready":
        parameter = (x.ctypes.data, "float64", (3, 1, 2), fits, fits)
        with pytest.raises(_core.DeviceError):
            _core.scale_on_device([parameter], factors, lambda *_: 0, device=0, stream=0)
    assert (x == 1).all()
