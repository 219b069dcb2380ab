"""rescale_: the function, the model's other state, and what happens when something is wrong."""

import copy
import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo import ZOO, Net, graph_of, mlp, trained

from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import diag_g, rescale_, trace

rescale = importlib.import_module("pathcond_native.model.rescale")
proof = importlib.import_module("pathcond_native.model.proof")


def outputs(model, x, training):
    model.train(training)
    torch.manual_seed(1)
    with torch.no_grad():
        return model(x.clone())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ZOO)
def test_the_function_is_preserved_in_both_modes(name, dtype):
    case = ZOO[name]
    model, x = case.build(dtype), torch.randn(case.inputs, dtype=dtype)
    original = copy.deepcopy(model)
    report = rescale_(model, x, graph=graph_of(name))
    assert report.neurons == case.neurons
    assert model.training
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for training in (False, True):
        old, new = (outputs(copy.deepcopy(m), x, training) for m in (original, model))
        assert float((old - new).abs().max()) <= tolerance * float(old.abs().max())
    for old, new in zip(original.buffers(), model.buffers(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("name", [n for n, case in ZOO.items() if case.neurons])
def test_the_gradient_vanishes_and_g_transforms_as_B_says(name):
    case = ZOO[name]
    model, x = case.build(torch.float64), torch.randn(case.inputs, dtype=torch.float64)
    graph = graph_of(name)
    B = graph.incidence().astype(np.float64)
    g = diag_g(model, x, graph=graph).numpy()
    report = rescale_(model, x, graph=graph)
    rescaled = diag_g(model, x, graph=graph).numpy()
    np.testing.assert_allclose(rescaled, g * np.exp(B @ report.result.u), rtol=1e-9, atol=0)
    rows = g > 0
    share = rescaled / rescaled.sum()
    gradient = B.T @ share - B[rows].sum(0) / rows.sum()
    assert np.abs(gradient).max() <= 1e-10


def test_everything_but_the_values_survives():
    model = trained(ZOO["norm2d"].build()).train()
    model[4].eval()
    model[0].weight.requires_grad_(False)
    calls = []
    model[3].register_forward_hook(lambda *_: calls.append(1))
    for x in model.parameters():
        x.grad = torch.ones_like(x)
    parameters, addresses = list(model.parameters()), [x.data_ptr() for x in model.parameters()]
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    inputs = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    buffers = [(x, x.clone()) for x in model.buffers()]
    rescale_(model, inputs)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert addresses == [x.data_ptr() for x in model.parameters()]
    assert [module.training for module in model.modules()] == flags
    assert [x.requires_grad for x in parameters] == [False] + [True] * (len(parameters) - 1)
    assert all(torch.equal(x.grad, torch.ones_like(x)) for x in parameters)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        x is y and torch.equal(x, old) for (x, old), y in zip(buffers, model.buffers(), strict=True)
    )
    assert len(model[3]._forward_hooks) == 1


def test_a_second_rescaling_changes_nothing():
    model, x = mlp(6, 9, 5, 3).double(), torch.randn(2, 6, dtype=torch.float64)
    rescale_(model, x)
    again = rescale_(model, x)
    np.testing.assert_allclose(again.result.scales, 1.0, rtol=0, atol=1e-9)


def test_strength_interpolates():
    original, x = mlp(6, 9, 5, 3).double(), torch.randn(2, 6, dtype=torch.float64)
    none, half, full = (copy.deepcopy(original) for _ in range(3))
    rescale_(none, x, strength=0.0)
    rescale_(half, x, strength=0.5)
    rescale_(full, x)
    for a, b, c, d in zip(*(m.parameters() for m in (original, none, half, full)), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(c * c, a * d, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model, x = mlp(6, 9, 5, 3).to(dtype), torch.randn(2, 6, dtype=dtype)
    report = rescale_(model, x)
    assert report.max_relative_error < 0.1
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_a_graph_saves_tracing(monkeypatch):
    model, x = mlp(6, 9, 5, 3), torch.randn(2, 6)
    graph = trace(model, x)
    monkeypatch.setattr(rescale, "trace", None)
    assert rescale_(model, x, graph=graph).neurons == 14


class InjectedError(Exception):
    pass


@pytest.mark.parametrize("fault", ["wrong factor", "failing forward", "failing write"])
def test_any_fault_restores_every_bit(fault, monkeypatch, bits):
    model = trained(ZOO["norm2d"].build())
    x = torch.randn(4, 2, 5, 5)
    before = bits(model)
    if fault == "wrong factor":
        rescaled = rescale.rescale_parameters

        def wrong(model, *args, **options):
            lost = rescaled(model, *args, **options)
            with torch.no_grad():
                model.get_parameter(next(iter(lost))).mul_(1.01)
            return lost

        monkeypatch.setattr(rescale, "rescale_parameters", wrong)
        monkeypatch.setattr(proof, "rescale_parameters", wrong)
        expected, message = VerificationError, "rescaling changed output .* evaluation mode"
    elif fault == "failing forward":
        observe, calls = rescale.observe, []

        def failing(*args):
            calls.append(args)
            if len(calls) == 2:
                raise InjectedError("forward")
            return observe(*args)

        monkeypatch.setattr(rescale, "observe", failing)
        expected, message = InjectedError, "forward"
    else:
        apply, calls = importlib.import_module("pathcond_native.model.apply"), []
        scaled_in_place = apply._scaled_in_place

        def failing_write(*args):
            calls.append(scaled_in_place(*args))
            if len(calls) == 3:
                raise InjectedError("write")
            return calls[-1]

        monkeypatch.setattr(apply, "_scaled_in_place", failing_write)
        expected, message = InjectedError, "write"
    with pytest.raises(expected, match=message):
        rescale_(model, x)
    assert bits(model) == before
    assert model.training


def cancelling() -> nn.Sequential:
    """Outputs are differences of numbers that are equal up to one part in a thousand."""
    model = mlp(6, 40, 40, 3)
    with torch.no_grad():
        for layer in (0, 2):  # the optimum is not where the network is
            model[layer].weight *= torch.logspace(-1, 1, 40)[torch.randperm(40), None]
        for x in (model[2].weight, model[2].bias):
            x[20:] = x[:20]
        model[4].weight[:, 20:] = -model[4].weight[:, :20] * (1 + 1e-3 * torch.rand(3, 20))
        model[4].bias.zero_()
    return model


@pytest.mark.parametrize("fault", [None, "in the model", "in the rule"])
def test_a_float64_copy_tells_rounding_from_a_wrong_rescaling(fault, monkeypatch, bits):
    model, x = cancelling(), torch.randn(2, 6)
    before = bits(model)
    rescaled = rescale.rescale_parameters

    def wrong(model, *args, **options):
        lost = rescaled(model, *args, **options)
        with torch.no_grad():
            for x in map(model.get_parameter, lost):
                x.mul_(1 + 1e-6 * torch.rand_like(x))
        return lost

    if fault:
        monkeypatch.setattr(rescale, "rescale_parameters", wrong)
    if fault == "in the rule":
        monkeypatch.setattr(proof, "rescale_parameters", wrong)
    if fault:
        with pytest.raises(VerificationError, match="rescaling changed output"):
            rescale_(model, x)
        assert bits(model) == before
        return
    report = rescale_(model, x)
    assert 1e-5 < report.max_relative_error < 1e-3
    assert report.verification.proven_in_float64 and "proven to be rounding" in str(report)


def test_overflow_is_refused_before_any_change(bits):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).half()
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
        model[0].bias.zero_()
        model[2].weight.fill_(6e4)
    before = bits(model)
    with pytest.raises(VerificationError, match="would overflow"):
        rescale_(model, torch.randn(1, 2).half(), strength=-9.0)
    assert bits(model) == before


def test_a_function_that_differs_in_training_is_caught(bits):
    """The training branch is not equivariant, and nothing in the code tells that there is one."""
    hidden = "".join(["train", "ing"])

    def forward(s, x):
        h = s.b(s.n(s.a(x))).relu()
        return s.c(torch.tanh(h) if getattr(s, hidden) else h)

    model = Net(
        forward, a=nn.Linear(4, 5), n=nn.BatchNorm1d(5), b=nn.Linear(5, 6), c=nn.Linear(6, 3)
    )
    before = bits(model)
    with pytest.raises(VerificationError, match="training mode"):
        rescale_(model, torch.randn(8, 4))
    assert bits(model) == before


def test_reports_tell_what_happened_and_why():
    done = str(rescale_(mlp(4, 5, 3), torch.randn(2, 4)))
    assert "rescaled 5 neurons in 1 layer by pathcond\n" in done and "model output" in done
    tanh = rescale_(mlp(4, 5, 3, activation=nn.Tanh), torch.randn(2, 4))
    assert tanh.neurons == 0 and tanh.result is None and math.isnan(tanh.objective)
    assert "nothing to rescale, because" in str(tanh) and "aten.tanh" in str(tanh)


def test_bad_arguments_change_nothing(bits):
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    before = bits(model)
    for strength in (math.nan, math.inf, "1", None, True):
        with pytest.raises(InvalidInputError, match="strength: expected a finite number"):
            rescale_(model, x, strength=strength)
    with pytest.raises(InvalidInputError, match="example_inputs"):
        rescale_(model, 3)
    with pytest.raises(InvalidInputError, match="traced from another model"):
        rescale_(model, x, graph=trace(mlp(4, 6, 3), x))
    assert bits(model) == before


def test_models_without_usable_parameters():
    x = torch.randn(2, 4)
    broken = mlp(4, 5, 3)
    broken[2].weight.data[0, 0] = math.nan
    with pytest.raises(InvalidInputError, match=r"'2\.weight' holds NaN"):
        rescale_(broken, x)
    with pytest.raises(InvalidInputError, match="uninitialised"):
        rescale_(nn.LazyLinear(3), x)
    with torch.device("meta"):
        meta = mlp(4, 5, 3)
    with pytest.raises(InvalidInputError, match="meta device"):
        rescale_(meta, x)
    assert "no rescalable neuron" in str(rescale_(nn.Identity(), x))


def test_the_proof_leaves_the_originals_alone(monkeypatch, bits):
    """A float64 model that amplifies rounding: its copy is nudged, and the proof then refused."""
    model, x = cancelling().double(), torch.randn(2, 6).double()
    before = bits(model)
    rescaled = rescale.rescale_parameters

    def wrong(model, *args, **options):
        lost = rescaled(model, *args, **options)
        with torch.no_grad():
            for x in map(model.get_parameter, lost):
                x.mul_(1 + 1e-9)
        return lost

    monkeypatch.setattr(rescale, "rescale_parameters", wrong)
    with pytest.raises(VerificationError, match="rescaling changed output"):
        rescale_(model, x)
    assert bits(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autograd_knows_that_the_parameters_changed(dtype):
    model, x = mlp(4, 5, 3).to(dtype), torch.randn(2, 4, dtype=dtype, requires_grad=True)
    outputs = model(x).sum()
    rescale_(model, x.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.backward()


def test_memory_of_parameters_can_still_be_given_back():
    """As wrappers that shard a model do; `Tensor.numpy` forbids it for good."""
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    rescale_(model, x)
    diag_g(model, x)
    for parameter in model.parameters():
        storage = parameter.untyped_storage()
        storage.resize_(0)
        assert storage.nbytes() == 0


def test_inside_autocast():
    """It keeps the weights that it has cast: the old network would be verified against itself."""
    torch.manual_seed(0)
    model, inputs = mlp(6, 40, 30, 5), torch.randn(8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(inputs)
        report = rescale_(model, inputs)
        assert 0 < report.verification.max_relative_error <= 0.1
        within = model(inputs)
        within.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(inputs), within)


def test_scales_come_back_as_tensors():
    """Also where every part of g was summed on the way."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    report = rescale_(model, torch.randn(1, 3, 8, 8))
    assert isinstance(report.result.u, torch.Tensor)


def test_tensors_that_are_views_of_conjugates():
    """Memory holds the negative of the parameter, and the conjugate of the buffer."""
    model, x = mlp(3, 5, 2), torch.randn(4, 3)
    plain = copy.deepcopy(model)
    rescale_(plain, x)
    weight = model[0].weight.detach()
    model[0].weight = nn.Parameter(torch.complex(weight, -weight).conj().imag)
    model.register_buffer("phases", torch.randn(3, dtype=torch.cfloat).conj())
    assert model[0].weight.is_neg() and model.phases.is_conj()
    before = model.phases.clone()
    assert rescale_(model, x).neurons == 5
    assert model[0].weight.is_neg() and torch.equal(model.phases, before)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
