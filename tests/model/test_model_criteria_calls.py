"""criterion="enorm" and "cle" as `rescale_` calls them: the function, options, dtypes, errors."""

import copy
import importlib

import numpy as np
import pytest
import torch
from families import load_torchvision
from test_model_criteria import BASELINES, flat
from torch import nn
from torch.nn import functional
from zoo import mlp, trained

import pathcond_native as pc
from pathcond_native import _core


class Block(nn.Module):
    """Of a ResNet, with a projection."""

    def __init__(self, a, b):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b))
        self.second = nn.Sequential(nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b))
        self.short = nn.Conv2d(a, b, 1)

    def forward(self, x):
        return functional.relu(self.second(functional.relu(self.first(x))) + self.short(x))


def small_resnet():
    blocks = [nn.Conv2d(3, 6, 3), nn.ReLU(), Block(6, 8), Block(8, 8)]
    return trained(nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))


def small_transformer():
    layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)
    )


def resnet18():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return load_torchvision().models.resnet18(weights=None)


MODELS = [(small_resnet, (3, 3, 9, 9)), (small_transformer, (2, 5, 16)), (resnet18, (1, 3, 64, 64))]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "inputs"), MODELS)
def test_the_function_is_preserved(make, inputs):
    original, x = make().eval(), torch.randn(inputs)
    graph = pc.trace(original, x)
    before = original(x).detach()
    for criterion in BASELINES:
        model = copy.deepcopy(original)
        report = pc.rescale_(model, x, graph=graph, criterion=criterion)
        after = model(x).detach()
        assert (after - before).abs().max() <= 1e-5 * before.abs().max()
        assert report.verification.runs
        assert report.objective < report.initial_objective
        assert any(not torch.equal(a, b) for a, b in zip(
            original.parameters(), model.parameters(), strict=True
        ))  # fmt: skip


@pytest.mark.parametrize("criterion", BASELINES)
def test_options_act_alike(criterion):
    original, x = mlp(5, 8, 7, 3).double(), torch.randn(2, 5).double()
    graph = pc.trace(original, x)

    def report(**options):
        return pc.rescale_(copy.deepcopy(original), x, graph=graph, criterion=criterion, **options)

    full = report()
    half = report(strength=0.5)
    np.testing.assert_array_equal(half.result.u, full.result.u)
    assert full.objective < half.objective < half.initial_objective
    rounded = report(round_to="power_of_two")
    assert rounded.max_relative_error == 0
    bounded = report(max_scale=1.05)
    assert bounded.result.scales.max() <= 1.05 and bounded.result.scales.min() >= 1 / 1.05
    assert full.objective < bounded.objective < bounded.initial_objective
    none = report(max_scale=1.0)
    assert none.result.converged and (none.result.scales == 1).all()
    short = report(max_sweeps=1, tol=0.0)
    assert short.result.sweeps == 1 and short.result.status == "max_sweeps"
    assert report(strength=0.0).objective == pytest.approx(full.initial_objective)
    assert f"by {criterion}" in str(full)


def test_one_cycle_of_the_paper_of_enorm():
    model, x = mlp(5, 8, 7, 3).double(), torch.randn(2, 5).double()
    twin = copy.deepcopy(model)
    pc.rescale_(model, x, criterion="enorm", method="cd", max_sweeps=1)
    with torch.no_grad():
        for a, b in ((twin[0], twin[2]), (twin[2], twin[4])):
            enters = a.weight.square().sum(1) + a.bias.square()
            scale = (b.weight.square().sum(0) / enters) ** 0.25
            a.weight.mul_(scale[:, None])
            a.bias.mul_(scale)
            b.weight.div_(scale)
    np.testing.assert_allclose(flat(model), flat(twin), rtol=1e-12)


def test_half_precision_and_extreme_weights():
    for dtype, size in ((torch.float16, 1.0), (torch.bfloat16, 1e15), (torch.float64, 1e100)):
        model = mlp(4, 6, 3).to(dtype)
        with torch.no_grad():
            model[0].weight.mul_(size)
            model[2].weight.div_(size)
        for criterion in BASELINES:
            twin = copy.deepcopy(model)
            report = pc.rescale_(twin, torch.randn(2, 4).to(dtype), criterion=criterion)
            assert report.result.converged
            assert twin[0].weight.double().abs().max() <= 10
            assert twin[2].weight.double().abs().min() > 1e-6


@pytest.mark.parametrize("criterion", BASELINES)
def test_the_optimiser_goes_along(criterion):
    """As for "pathcond": the momentum of every parameter is divided by its factor."""
    model, x = mlp(5, 8, 3).double(), torch.randn(4, 5).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(x).square().sum().backward()
    optimizer.step()
    before = [(p.detach().clone(), optimizer.state[p]["momentum_buffer"].clone())
              for p in model.parameters()]  # fmt: skip
    conditioner = pc.PathConditioner(model, optimizer, x, every=1, criterion=criterion)
    report = conditioner.step()
    assert report.criterion == criterion
    for p, (old, momentum) in zip(model.parameters(), before, strict=True):
        factor = p.detach() / old
        torch.testing.assert_close(optimizer.state[p]["momentum_buffer"], momentum / factor)
    assert conditioner.step().result.scales == pytest.approx(1.0, rel=1e-6)


def test_unusable_options_are_found_before_any_work(bits):
    model, x = mlp(3, 4, 2), torch.randn(2, 3)
    model.register_forward_hook(lambda *_: pytest.fail("it ran"))
    before = bits(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrong = [
        ({"criterion": "l2"}, "criterion: expected one of"),
        ({"criterion": None}, "criterion: expected one of"),
        ({"criterion": "cle", "method": "newton"}, "method: expected 'auto'"),
        ({"criterion": "cle", "tol": -1.0}, "tol: "),
        ({"criterion": "cle", "max_sweeps": 1.5}, "max_sweeps: "),
    ]
    for options, match in wrong:
        with pytest.raises(pc.InvalidInputError, match=match):
            pc.rescale_(model, x, **options)
        with pytest.raises(pc.InvalidInputError, match=match):
            pc.rescale(model, x, **options)
        with pytest.raises(pc.InvalidInputError, match=match):
            pc.PathConditioner(model, optimizer, x, every=1, **options)
    assert bits(model) == before


def test_corrupted_columns_are_refused():
    columns = {"indptr": [0, 2], "indices": [0, 1], "values": [-1, 1]}
    wrong = [{"indptr": [0, 3]}, {"indptr": [1, 2]}, {"indices": [0, 2]}, {"values": [0, 1]}]
    for change in [{}, *wrong]:
        arrays = [
            np.array(x, np.int8 if name == "values" else np.int32)
            for name, x in {**columns, **change}.items()
        ]
        limits = {"u0": [], "max_scale": np.inf, "tolerance": 1e-9, "max_sweeps": 10}
        if not change:
            u, history, left = _core.equalise(*arrays, np.log([4.0, 1.0]), **limits)
            assert u == pytest.approx([np.log(0.25)])
            assert history == pytest.approx([np.log(4), 0]) and left == 0
            continue
        with pytest.raises(_core.InvalidInput, match="valid compressed columns"):
            _core.equalise(*arrays, np.log([4.0, 1.0]), **limits)
