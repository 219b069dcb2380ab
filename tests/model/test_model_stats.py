"""stats on networks whose paths can be counted by hand, and what the reports look like."""

import importlib
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from zoo import ZOO, Net, between, graph_of, mlp, trained

from pathcond_native.errors import InvalidInputError
from pathcond_native.model import diag_g, rescale_, trace

module = importlib.import_module("pathcond_native.model.stats")
paths = importlib.import_module("pathcond_native.model.paths")
stats = module.stats


def conv(pool: nn.Module, bias: bool = True) -> nn.Module:
    """4 x 4 input, 2 channels of 2 x 2 after a 3 x 3 kernel, pooled to 1 x 1."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=bias), nn.ReLU(), pool, nn.Flatten(), nn.Linear(2, 3, bias=bias)
    )


def skip() -> nn.Module:
    """x -> 4 channels h; h + (4 -> 5 -> 4)(h); 3 outputs."""
    return Net(
        lambda s, x: s.d((h := s.a(x)) + s.c(functional.relu(s.b(h)))),
        a=nn.Linear(2, 4),
        b=nn.Linear(4, 5),
        c=nn.Linear(5, 4),
        d=nn.Linear(4, 3),
    )


PATHS = {
    "mlp": (lambda: mlp(3, 4, 5, 2), (2, 3), 3 * 4 * 5 * 2, 120 + 4 * 5 * 2 + 5 * 2 + 2),
    "no bias": (lambda: nn.Linear(3, 4, bias=False), (2, 3), 12, 12),
    "max": (lambda: conv(nn.MaxPool2d(2)), (2, 1, 4, 4), 9 * 4 * 2 * 3, 216 + 4 * 2 * 3 + 3),
    "average": (lambda: conv(nn.AvgPool2d(2), False), (2, 1, 4, 4), 216, 216),
    "adaptive": (lambda: conv(nn.AdaptiveAvgPool2d(1), False), (2, 1, 4, 4), 216, 216),
    "skip": (skip, (1, 2), 2 * 4 * (1 + 5 * 4) * 3, 504 + 4 * 21 * 3 + 5 * 4 * 3 + 4 * 3 + 3),
    "norm": (
        lambda: trained(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))),
        (4, 2),
        12,
        12 + 6 + 6 + 2,
    ),
    "constants": (between(lambda h: torch.add(0.5 * h, h, alpha=3) / 7), (1, 4), 720, 939),
    "tanh": (between(torch.tanh), (2, 4), 18, 21),
    "mean": (between(lambda h: h.mean(1, keepdim=True).expand(-1, 6)), (2, 4), 2160, 2811),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_counted_by_hand(name):
    make, shape, plain, biased = PATHS[name]
    found = stats(make(), torch.randn(shape))
    assert (found.paths, found.paths_with_biases) == (plain, biased)
    assert found.log10_paths == pytest.approx(math.log10(plain), rel=1e-12)
    assert found.log10_paths_with_biases == pytest.approx(math.log10(biased), rel=1e-12)


def test_counts_beyond_float64_are_exact():
    sizes = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
    found = stats(mlp(*sizes), torch.randn(1, 784))
    assert found.paths == math.prod(sizes)
    biased = sum(math.prod(sizes[k:]) for k in range(len(sizes)))
    assert found.paths_with_biases == biased
    assert "10^23.460 (known exactly)" in str(found)


def test_counts_of_a_deep_network():
    layers = [nn.Linear(30, 30, bias=False) for _ in range(130)]
    found = stats(nn.Sequential(*layers), torch.randn(1, 30))
    assert found.paths == 30**131 and found.log10_paths == pytest.approx(131 * math.log10(30))


def test_expensive_counts_are_given_as_logarithms(monkeypatch):
    monkeypatch.setattr(paths, "_MOST_WORK", 10)
    found = stats(mlp(3, 4, 5, 2), torch.randn(2, 3))
    assert found.paths is None and found.log10_paths == pytest.approx(math.log10(120))
    assert "10^2.079" in str(found)


def test_a_mask_cuts_paths():
    model = mlp(3, 4, 2)
    prune.random_unstructured(model[0], "weight", 0.5)
    assert stats(model, torch.randn(1, 3)).paths == 6 * 2


def test_no_path():
    found = stats(mlp(3, 4, 2, activation=lambda: nn.Threshold(0.5, 0.0)), torch.randn(1, 3))
    assert found.paths == 8 and found.g_zeros == 16
    nothing = stats(Net(lambda s, x: s.a(x).tanh(), a=nn.Linear(3, 2)), torch.randn(1, 3))
    assert nothing.g_zeros == 8 and math.isnan(nothing.g_min) and math.isnan(nothing.log10_spread)


@pytest.mark.parametrize("name", ["residual", "norm2d", "tanh"])
def test_the_spread_is_that_of_diag_g(name):
    case = ZOO[name]
    model, x, graph = trained(case.build()), torch.randn(case.inputs), graph_of(name)
    found, g = stats(model, x, graph=graph), diag_g(model, x, graph=graph)
    positive = g[g > 0]
    assert found.g_min == float(positive.min()) and found.g_max == float(positive.max())
    assert found.g_median == pytest.approx(float(positive.median()), rel=0.5)
    assert found.log10_spread == pytest.approx(math.log10(found.g_max / found.g_min))
    assert found.parameters == len(g) and found.neurons == case.neurons
    assert found.g_zeros == int((g == 0).sum())
    assert found.pinned_channels == sum(x.channels for x in graph.pinned)
    with pytest.raises(AttributeError):
        found.neurons = 3


def test_unusable_arguments():
    with pytest.raises(InvalidInputError, match="traced from another model"):
        stats(mlp(3, 4, 2), torch.randn(1, 3), graph=trace(mlp(3, 5, 2), torch.randn(1, 3)))
    with pytest.raises(InvalidInputError, match="meta device"):
        stats(mlp(3, 4, 2).to("meta"), torch.randn(1, 3))


def deep(n: int) -> nn.Module:
    """Long names, many layers, many reasons not to rescale."""

    def block(s, x):
        return s.out(s.down(torch.tanh(s.up(x))).relu())

    blocks = [
        Net(block, up=nn.Linear(4, 5), down=nn.Linear(5, 4), out=nn.Linear(4, 4)) for _ in range(n)
    ]
    inner = nn.Sequential(*blocks)
    for k in range(6):
        inner = nn.ModuleDict({f"a_rather_long_name_{k}": inner})
    return Net(
        lambda s, x: s.inner["a_rather_long_name_5"]["a_rather_long_name_4"][
            "a_rather_long_name_3"
        ]["a_rather_long_name_2"]["a_rather_long_name_1"]["a_rather_long_name_0"](x),
        inner=inner,
    )


def test_reports_fit_a_terminal():
    model, x = deep(40), torch.randn(2, 4)
    graph = trace(model, x)
    report = rescale_(model, x, graph=graph)
    for text in (str(report), str(stats(model, x, graph=graph))):
        lines = text.splitlines()
        assert max(map(len, lines)) <= 100, text
        assert len(lines) < 70, text
        assert "tanh" in text
    text = str(report)
    assert text.startswith(f"rescaled {report.neurons} neurons in {len(report.groups)} layers")
    assert f"… {len(report.groups) - 14} more layers" in text
    assert report.groups[-1].name[-20:] in text, "the end of a list is shown, too"
    tanh = next(line for line in text.splitlines() if "feeds aten.tanh" in line)
    assert " and 39 more  200 " in tanh


def test_reports_tell_three_outcomes_apart():
    x = torch.randn(2, 4)
    done = rescale_(mlp(4, 5, 3), x)
    assert str(done).startswith("rescaled 5 neurons in 1 layer by pathcond\n")
    stages = "trace diag_g solve evaluate observe apply verify"
    assert list(done.seconds) == stages.split()
    nothing = rescale_(mlp(4, 5, 3, activation=nn.Tanh), x)
    assert str(nothing).startswith("nothing to rescale, because it has no rescalable neuron")
    assert nothing.groups == () and "aten.tanh" in str(nothing)
    dead = mlp(4, 5, 3)
    torch.nn.init.zeros_(dead[2].weight)
    torch.nn.init.zeros_(dead[0].weight)
    torch.nn.init.zeros_(dead[0].bias)
    assert "because no path to an output goes through" in str(rescale_(dead, x))
    half = mlp(4, 5, 3)
    with torch.no_grad():
        half[0].weight[:2], half[0].bias[:2], half[2].weight[:, :2] = 0.0, 0.0, 0.0
    report = str(rescale_(half, x))
    assert "  2 of them stay, see below" in report
    assert "no path to an output goes through it" in report


def test_a_reused_graph_costs_no_trace():
    model, x = mlp(4, 5, 3), torch.randn(2, 4)
    report = rescale_(model, x, graph=trace(model, x))
    assert "trace" not in report.seconds and report.seconds["verify"] > 0
