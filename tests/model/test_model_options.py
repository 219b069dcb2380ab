"""round_to, strength, verify, and the dtypes and layouts of parameters."""

import copy
import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, Net, graph_of, mlp, trained

from pathcond_native.engine.rounding import power_of_two
from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import diag_g, rescale_, trace

rescale = importlib.import_module("pathcond_native.model.rescale").rescale

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def spread(model: nn.Module) -> nn.Module:
    """Rows of the first layer from 1/30 to 30 times as large, so that factors are far from 1."""
    first = next(m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
    with torch.no_grad():
        rows = torch.logspace(-1.5, 1.5, len(first.weight))
        first.weight *= rows.reshape(-1, *(1,) * (first.weight.dim() - 1))
    return model


VARIED = ["mlp", "norm1d", "norm2d", "conv_avg_flatten", "residual", "residual_stream", "grouped"]
VARIED += [
    "branches",
    "prelu",
    "leaky",
    "scaled",
    "double_add",
    "tanh",
    "gelu",
    "softmax",
    "square",
]
VARIED += ["layer_norm", "tied", "reused", "transposed_weight", "raw_parameter"]


@pytest.mark.parametrize("name", VARIED)
def test_powers_of_two_keep_every_bit(name):
    case = ZOO[name]
    model = trained(case.build())
    original, x = copy.deepcopy(model), torch.randn(case.inputs)
    report = rescale_(model, x, graph=graph_of(name), round_to="power_of_two")
    for old, new in zip(original.parameters(), model.parameters(), strict=True):
        ratio = (new / old)[old != 0].abs().log2()
        assert torch.equal(ratio, ratio.round())
    for training in (False, True):
        runs = [copy.deepcopy(m).train(training) for m in (original, model)]
        torch.manual_seed(1)
        old = runs[0](x.clone())
        torch.manual_seed(1)
        new = runs[1](x.clone())
        if training:
            torch.testing.assert_close(
                old, new, rtol=0, atol=1e-5 * float(old.detach().abs().max())
            )
        else:
            assert torch.equal(old, new)
    if report.result is not None:
        assert report.max_relative_error <= 1e-5
        assert report.objective >= report.result.objective - 1e-9 * abs(report.result.objective)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_two_keep_every_bit_in_every_dtype(dtype):
    model, x = spread(mlp(6, 9, 5, 3)), torch.randn(4, 6).to(dtype)
    with torch.no_grad():
        for p in model.parameters():  # far enough from 0 for half precision
            p.copy_(p + 0.01 * p.sign())
    before = model.to(dtype)(x)
    report = rescale_(model, x, round_to="power_of_two")
    assert torch.equal(model(x), before)
    assert report.max_relative_error == 0.0 and "every bit is the same" in str(report)
    scales = [s for g in report.groups for s in (g.smallest_scale, g.largest_scale)]
    assert all(math.frexp(s)[0] == 0.5 for s in scales) and len(set(scales)) > 1


def test_powers_are_exact():
    k = np.arange(-1074.0, 1024.0)
    assert (power_of_two(k) == [math.ldexp(1.0, int(i)) for i in k]).all()
    x = np.linspace(-3, 3, 50)
    np.testing.assert_allclose(power_of_two(x), 2.0**x, rtol=1e-15)


@pytest.mark.parametrize(("size", "what"), [(1e-4, "underflow"), (3e4, "overflow")])
def test_lost_bits_are_refused(size, what, bits):
    """Half precision is exact from 6e-5 to 65504; away from the optimum weights leave it."""
    model = mlp(2, 3, 2).half()
    with torch.no_grad():
        for x in model.parameters():
            x.fill_(1.0 + 2**-10)
        model[0].weight.fill_(size * (1 + 2**-10))
    before = bits(model)
    with pytest.raises(VerificationError, match=f"'0.weight' would {what}"):
        rescale_(model, torch.ones(1, 2).half(), round_to="power_of_two", strength=-2.0)
    assert bits(model) == before


def test_an_activation_that_loses_bits_is_caught(bits):
    """Every parameter stays exact, but an activation between the layers is rounded to 2^-20."""
    model, x = spread(mlp(6, 9, 3)), torch.randn(3, 6)
    graph = trace(model, x)
    model[1].register_forward_hook(lambda *call: (call[2] * 2.0**20).round() / 2.0**20)
    before = bits(model)
    with pytest.raises(VerificationError, match="expected the same bits"):
        rescale_(model, x, graph=graph, round_to="power_of_two")
    assert bits(model) == before


def criterion(B, g, u):
    """F(u) and max|dF/du| / p, as they stand in the paper."""
    v = B @ u
    shares = g * np.exp(v)
    gradient = B.T @ (shares / shares.sum() - 1 / len(g))
    return len(g) * np.log(shares.sum()) - v.sum(), np.abs(gradient).max()


def test_the_report_speaks_of_the_network_as_it_is():
    original, x = spread(mlp(6, 9, 5, 3)).double(), torch.randn(2, 6).double()
    graph = trace(original, x)
    B, g = graph.incidence(), diag_g(original, x, graph=graph).numpy()
    for options in ({"strength": 0.4}, {"round_to": "power_of_two"}, {"strength": 1}):
        model = copy.deepcopy(original)
        report = rescale_(model, x, graph=graph, **options)
        now = diag_g(model, x, graph=graph).numpy()
        objective, gradient = criterion(B, now, np.zeros(14))
        # F(u) counts from the network as it was: Σ (B u)_i lies between the two.
        before, after = (
            np.log(np.concatenate([y.detach().abs().flatten() for y in m.parameters()]))
            for m in (original, model)
        )
        shift = -2.0 * float((after - before).sum())
        assert report.objective == pytest.approx(objective - shift, rel=1e-9)
        assert report.gradient_norm == pytest.approx(gradient, rel=1e-6, abs=1e-12)
        assert report.initial_objective == pytest.approx(criterion(B, g, np.zeros(14))[0])


def test_strength_and_rounding_combine():
    original, x = spread(mlp(6, 9, 5, 3)), torch.randn(2, 6)
    model = copy.deepcopy(original)
    report = rescale_(model, x, strength=0.5, round_to="power_of_two")
    k = np.rint(0.25 * np.asarray(report.result.u) / math.log(2))
    ratio = (model[0].weight / original[0].weight)[:, 0].log2().detach().numpy()
    np.testing.assert_array_equal(ratio, k[:9])


def scales_of(original, model):
    """λ per hidden neuron of a multilayer perceptron, from its weights."""
    layers = [[m for m in x if isinstance(m, nn.Linear)] for x in (original, model)]
    return torch.cat(
        [(new.bias / old.bias).detach() for old, new in zip(*layers, strict=True)][:-1]
    )


@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0, 3.0])
@pytest.mark.parametrize("max_scale", [1.0, 1.5, 3.0])
def test_no_scale_leaves_its_bound(max_scale, strength):
    original, x = spread(mlp(6, 9, 5, 3)).double(), torch.randn(2, 6).double()
    graph = trace(original, x)
    for round_to in (None, "power_of_two"):
        model = copy.deepcopy(original)
        report = rescale_(
            model, x, graph=graph, max_scale=max_scale, strength=strength, round_to=round_to
        )
        scales = scales_of(original, model)
        assert scales.log().abs().max() <= math.log(max_scale) + 1e-15
        ends = [x for part in report.groups for x in (part.smallest_scale, part.largest_scale)]
        assert max(ends) == pytest.approx(float(scales.max()), rel=1e-12)
        assert min(ends) == pytest.approx(float(scales.min()), rel=1e-12)
        if round_to:
            assert torch.equal(scales.log2(), scales.log2().round())
        if (strength, round_to) == (1.0, None):
            assert report.gradient_norm <= 1e-12
            assert scales.log().abs().max() == pytest.approx(math.log(max_scale), rel=1e-12)


def far_away():
    """A network whose optimum is farther away than the default bound, and its λ there."""
    model = mlp(6, 9, 5, 3).double()
    with torch.no_grad():
        model[0].weight *= 1e4
        model[0].bias *= 1e4
    return model, torch.randn(2, 6).double()


def test_the_report_tells_what_is_far_and_what_is_held():
    original, x = far_away()
    bounded, free = copy.deepcopy(original), copy.deepcopy(original)
    report = rescale_(bounded, x, max_scale=32)
    scales = scales_of(original, bounded)
    assert scales.log().abs().max() == pytest.approx(math.log(32), rel=1e-12)
    assert report.max_scale == 32
    held = int((scales.log().abs() > math.log(32) * (1 - 1e-9)).sum())
    assert report.held == held > 0
    assert f"{held} of them are held at max_scale=32" in str(report)
    report = rescale_(free, x)
    assert (report.max_scale, report.held) == (None, 0)
    farthest = float(scales_of(original, free).log().abs().max().exp())
    assert farthest > 32
    assert f"some λ are as far as {farthest:.2g} from 1" in str(report)
    again = rescale_(free, x)
    assert again.objective == pytest.approx(again.initial_objective, rel=1e-12)
    assert "far as" not in str(again)


@pytest.mark.parametrize(
    "option",
    [{"max_scale": 0.5}, {"max_scale": "2"}, {"method": "best"}, {"tol": -1}, {"threads": 0}],
)
def test_options_of_solve_are_checked_before_the_model_is_run(option):
    model, calls = mlp(2, 3, 2), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(InvalidInputError, match=f"^{next(iter(option))}: expected"):
        rescale_(model, torch.randn(1, 2), **option)
    assert not calls


@pytest.mark.parametrize("value", ["powers", 2, True, ""])
def test_unknown_options_are_refused(value):
    with pytest.raises(InvalidInputError, match="round_to: expected None or 'power_of_two'"):
        rescale_(mlp(2, 3, 2), torch.randn(1, 2), round_to=value)
    with pytest.raises(InvalidInputError, match="verify: expected True or False"):
        rescale_(mlp(2, 3, 2), torch.randn(1, 2), verify=value if value is not True else 1)


def test_without_verification_the_model_is_not_run():
    model, x, calls = mlp(6, 9, 3), torch.randn(2, 6), []
    graph = trace(model, x)
    model.register_forward_hook(lambda *_: calls.append(1))
    report = rescale_(model, x, graph=graph, verify=False)
    assert not calls and not report.verification.runs and math.isnan(report.max_relative_error)
    assert "not verified" in str(report)


def test_each_parameter_is_rounded_once():
    """float32 and bfloat16 models get the float64 model's new parameters, rounded."""
    for dtype in (torch.float32, torch.bfloat16):
        model = spread(mlp(6, 9, 5, 3)).to(dtype)
        twin = copy.deepcopy(model).double()
        x = torch.randn(2, 6).double()
        rescale_(twin, x)
        rescale_(model, x.to(dtype))
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(a, b.to(dtype))


def test_mixed_dtypes_and_integer_parameters():
    model = Net(
        lambda s, x: s.c(s.b(s.a(x).relu()).double().relu()) + s.table.sum(),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 6),
        c=nn.Linear(6, 3).double(),
    )
    model.table = nn.Parameter(torch.arange(3), requires_grad=False)
    x = torch.randn(2, 4)
    before = model(x)
    report = rescale_(model, x)
    assert report.neurons == 11 and model.table.dtype == torch.int64
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-6)


def test_a_half_precision_model_may_return_float32():
    model = Net(lambda s, x: s.b(s.a(x).relu()).float(), a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    spread(model).bfloat16()
    report = rescale_(model, torch.randn(2, 4).bfloat16())
    assert 1e-5 < report.max_relative_error < 0.1 and not report.verification.proven_in_float64


def test_an_unknown_float_dtype_is_refused():
    model = mlp(4, 5, 3)
    model.extra = nn.Parameter(torch.zeros(3).to(torch.float8_e5m2), requires_grad=False)
    with pytest.raises(InvalidInputError, match=r"'extra' is torch\.float8_e5m2"):
        rescale_(model, torch.randn(2, 4))


def test_layouts_objects_and_flags_survive():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    spread(model).to(memory_format=torch.channels_last)
    model[2].weight = nn.Parameter(torch.randn(3, 3, 4, 2).permute(3, 2, 0, 1))
    model[0].weight.requires_grad_(False)
    model.unused = nn.Parameter(torch.randn(7))
    strides = [p.stride() for p in model.parameters()]
    state = [(p, p.data_ptr(), p.clone()) for p in model.parameters()]
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    report = rescale_(model, x)
    assert [p.stride() for p in model.parameters()] == strides
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(
        p is q and p.data_ptr() == a for (p, a, _), q in zip(state, model.parameters(), strict=True)
    )
    assert not model[0].weight.requires_grad and model[2].weight.requires_grad
    changed = {
        n
        for (n, q), (_, _, old) in zip(model.named_parameters(), state, strict=True)
        if (q != old).any()
    }
    assert changed == {"0.weight", "0.bias", "2.weight"} and report.neurons == 4
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)


def test_views_of_one_storage_are_never_wrong():
    """Two layers' weights are slices of one tensor; their biases overlap."""
    flat = torch.randn(4 * 5 + 5 * 3)
    model = mlp(4, 5, 3)
    model[0].weight = nn.Parameter(flat[:20].view(5, 4))
    model[2].weight = nn.Parameter(flat[20:].view(3, 5))
    x = torch.randn(2, 4)
    before = model(x)
    rescale_(model, x)
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-6)


def test_rescale_returns_a_copy(bits):
    model, x = spread(mlp(6, 9, 5, 3)), torch.randn(2, 6)
    model[0].weight.grad = torch.ones(9, 6)
    before, reports = bits(model), []
    result = rescale(model, x, on_report=reports.append, strength=0.5)
    assert bits(model) == before and bits(result) != before
    assert type(result) is type(model) and reports[0].neurons == 14
    in_place = copy.deepcopy(model)
    rescale_(in_place, x, strength=0.5)
    assert bits(in_place) == bits(result)
    with pytest.raises(InvalidInputError, match="strength"):
        rescale(model, x, strength="much")
    with pytest.raises(InvalidInputError, match=r"torch\.nn\.Module"):
        rescale(None, x)
    assert bits(model) == before


def test_models_that_cannot_be_copied():
    model = mlp(4, 5, 3)
    model.generator = (i for i in range(3))
    with pytest.raises(InvalidInputError, match=r"cannot be copied .* rescale_ works in place"):
        rescale(model, torch.randn(2, 4))
    rescale_(model, torch.randn(2, 4))
