"""criterion="enorm" and "cle" on models, against their definitions."""

import copy

import numpy as np
import pytest
import torch
from symmetry import rescaled
from torch import nn
from torch.nn import functional
from zoo import ZOO, Net, graph_of, mlp, trained

import pathcond_native as pc

BASELINES = ("enorm", "cle")


def set_(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values).reshape(parameter.shape))


def flat(model):
    return torch.cat([x.detach().reshape(-1) for x in model.parameters()]).double().numpy()


def is_bias(model):
    """Per entry of `flat`, by name."""
    parts = [np.full(x.numel(), name.endswith("bias")) for name, x in model.named_parameters()]
    return np.concatenate(parts)


def test_a_network_by_hand():
    """One hidden neuron, weights 3 and -4 in, bias 12, weight 2 out."""
    scales = {"enorm": (4 / (9 + 16 + 144)) ** 0.25, "cle": (2 / 4) ** 0.5}
    for criterion, scale in scales.items():
        model = mlp(2, 1, 1).double()
        set_(model[0].weight, [3.0, -4.0])
        set_(model[0].bias, 12.0)
        set_(model[2].weight, 2.0)
        set_(model[2].bias, 100.0)
        report = pc.rescale_(model, torch.randn(3, 2).double(), criterion=criterion)
        assert report.criterion == criterion
        assert report.result.scales == pytest.approx([scale])
        expected = [3 * scale, -4 * scale, 12 * scale, 2 / scale, 100]
        assert flat(model) == pytest.approx(expected)
        assert report.verification.max_relative_error <= 1e-12


def test_a_convolution_by_hand():
    """Two channels, each with two taps in and two positions out."""
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1)).double()
    set_(model[0].weight, [[[1.0, 2.0]], [[0.5, -8.0]]])
    set_(model[0].bias, [0.0, 2.0])
    set_(model[3].weight, [[4.0, -8.0, 1.0, 1.0]])
    x = torch.randn(2, 1, 3).double()
    enorm = [(80 / 5) ** 0.25, (2 / (0.25 + 64 + 4)) ** 0.25]
    cle = [(8 / 2) ** 0.5, (1 / 8) ** 0.5]
    for criterion, expected in (("enorm", enorm), ("cle", cle)):
        report = pc.rescale_(copy.deepcopy(model), x, criterion=criterion)
        assert report.result.scales == pytest.approx(expected)


def test_a_residual_stream_by_hand():
    """One stream neuron s, one block neuron b: s is written by stem and b, read by b and head."""
    model = Net(
        lambda m, x: m.head((h := m.stem(x)) + m.up(functional.relu(m.down(h)))),
        stem=nn.Linear(1, 1, bias=False),
        down=nn.Linear(1, 1, bias=False),
        up=nn.Linear(1, 1, bias=False),
        head=nn.Linear(1, 1, bias=False),
    ).double()
    weights = {"stem": 16.0, "down": 2.0, "up": 32.0, "head": 1.0}
    for name, value in weights.items():
        set_(getattr(model, name).weight, value)
    x = torch.randn(4, 1).double()
    # Both: |up| / λ_b · λ_s = |down| λ_b / λ_s, hence λ_b / λ_s = 4; and |stem| λ_s = |head| / λ_s.
    for criterion in BASELINES:
        twin = copy.deepcopy(model)
        report = pc.rescale_(twin, x, criterion=criterion, tol=1e-13)
        assert report.result.scales == pytest.approx([0.25, 1.0])
        assert flat(twin) == pytest.approx([4.0, 8.0, 8.0, 4.0])


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.neurons])
def test_enorm_is_stationary(name):
    case = ZOO[name]
    model = trained(case.build(torch.float64))
    x = torch.randn(case.inputs, dtype=torch.float64)
    report = pc.rescale_(model, x, graph=graph_of(name), criterion="enorm")
    B = graph_of(name).incidence().astype(float)
    squares = flat(model) ** 2
    assert np.abs(B.T @ squares).max() <= 1e-11 * squares.sum()
    counted = squares[np.asarray(abs(B).sum(axis=1)).ravel() > 0]
    assert report.objective == pytest.approx(squares.sum(), rel=1e-9) or report.objective <= (
        squares.sum()
    )
    assert report.objective >= counted.sum() * (1 - 1e-9)
    assert report.objective <= report.initial_objective
    assert report.verification.max_relative_error <= 1e-12


def by_brute_force(B, size, tolerance=1e-9):
    """Cycles of single neurons by bisection on log λ: log λ, and the last imbalance."""
    log_size, scales = np.log(size), np.zeros(B.shape[1])
    for _ in range(1000):
        worst = 0.0
        for h in range(B.shape[1]):
            enters, leaves = B[:, h] < 0, B[:, h] > 0
            low, high = -50.0, 50.0

            worst = max(worst, abs(log_size[enters].max() - log_size[leaves].max()))
            for _ in range(60):
                middle = (low + high) / 2
                moved = log_size - B[:, h] * middle
                above = moved[enters].max() > moved[leaves].max()
                low, high = (low, middle) if above else (middle, high)
            log_size -= B[:, h] * low
            scales[h] += low
        if worst <= tolerance:
            break
    return scales, worst


@pytest.mark.parametrize("name", ["mlp_on_sequences", "residual", "grouped", "square", "norm1d"])
def test_cle_makes_its_cycles(name):
    case = ZOO[name]
    model = trained(case.build(torch.float64))
    theta, graph = flat(model), graph_of(name)
    weights = (theta != 0) & ~is_bias(model)
    scales, _ = by_brute_force(graph.incidence().toarray()[weights], np.abs(theta[weights]))
    x = torch.randn(case.inputs, dtype=torch.float64)
    report = pc.rescale_(model, x, graph=graph, criterion="cle")
    np.testing.assert_allclose(np.log(report.result.scales), scales, atol=1e-7)


@pytest.mark.parametrize("name", [name for name, case in ZOO.items() if case.neurons])
def test_cle_equalises_ranges(name):
    case = ZOO[name]
    model = trained(case.build(torch.float64))
    x = torch.randn(case.inputs, dtype=torch.float64)
    report = pc.rescale_(model, x, graph=graph_of(name), criterion="cle")
    assert report.result.converged and report.objective <= 1e-9
    B = graph_of(name).incidence().toarray()
    size = np.where(is_bias(model), 0, np.abs(flat(model)))
    enters, leaves = ((np.where(B * sign > 0, size[:, None], 0)).max(0) for sign in (-1, 1))
    np.testing.assert_allclose(enters, leaves, rtol=1e-8)
    assert report.verification.max_relative_error <= 1e-12


@pytest.mark.parametrize("criterion", BASELINES)
def test_parameters_that_are_added_are_biases(criterion):
    """In "cle" they do not count; in "enorm" they do."""

    def forward(s, x):
        return s.b(functional.relu(s.a(x) + s.shift.reshape(1, -1)))

    model = Net(forward, a=nn.Linear(2, 1, bias=False), b=nn.Linear(1, 1)).double()
    model.shift = nn.Parameter(torch.tensor([12.0]).double())
    set_(model.a.weight, [3.0, -4.0])
    set_(model.b.weight, 2.0)
    report = pc.rescale_(model, torch.randn(3, 2).double(), criterion=criterion)
    expected = {"enorm": (4 / 169) ** 0.25, "cle": 0.5**0.5}[criterion]
    assert report.result.scales == pytest.approx([expected])


@pytest.mark.parametrize("criterion", BASELINES)
def test_one_sided_neurons_stay_and_are_listed(criterion):
    model = mlp(3, 4, 4, 2).double()
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0
        model[4].weight[:, 2] = 0
    report = pc.rescale_(model, torch.randn(2, 3).double(), criterion=criterion)
    assert [(x.where, x.channels) for x in report.idle] == [("0", 1), ("2", 1)]
    assert all(" it, " in x.reason for x in report.idle)
    scales = np.asarray(report.result.scales)
    assert (scales[[1, 6]] == 1).all()
    others = np.delete(scales, [1, 6])
    assert (others != 1).all()
    assert "2 of them stay" in str(report)
    dead = mlp(3, 4, 2)
    with torch.no_grad():
        dead[2].weight.zero_()
    report = pc.rescale_(dead, torch.randn(2, 3), criterion=criterion)
    assert "no neuron has parameters other than 0 on both sides" in str(report)


def test_no_parameter_but_zero():
    model = mlp(3, 4, 2)
    with torch.no_grad():
        for x in model.parameters():
            x.zero_()
    for criterion in BASELINES:
        before = flat(model)
        report = pc.rescale_(model, torch.randn(2, 3), criterion=criterion)
        assert report.nothing_because is not None
        assert (flat(model) == before).all()


@pytest.mark.parametrize("name", ["mlp", "residual_stream", "norm2d", "tied", "square"])
@pytest.mark.parametrize("criterion", BASELINES)
def test_a_second_time_changes_nothing(criterion, name):
    case = ZOO[name]
    model = trained(case.build(torch.float64))
    x = torch.randn(case.inputs, dtype=torch.float64)
    options = {"graph": graph_of(name), "criterion": criterion}
    pc.rescale_(model, x, **options)
    again = pc.rescale_(model, x, **options)
    np.testing.assert_allclose(again.result.scales, 1.0, rtol=1e-8)


@pytest.mark.parametrize("name", ["mlp", "residual", "grouped", "norm2d", "tied", "square"])
def test_enorm_from_any_scales_is_the_same(name):
    case, graph = ZOO[name], graph_of(name)
    model = trained(case.build(torch.float64))
    x = torch.randn(case.inputs, dtype=torch.float64)
    other = rescaled(model, graph, np.random.default_rng(0).normal(size=graph.shape[1]))
    for twin in (model, other):
        pc.rescale_(twin, x, graph=graph, criterion="enorm")
    np.testing.assert_allclose(flat(other), flat(model), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("criterion", BASELINES)
def test_order_of_neurons_within_a_layer_does_not_matter(criterion):
    model = mlp(5, 8, 7, 3).double()
    order = torch.randperm(8)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight[order])
        other[0].bias.copy_(model[0].bias[order])
        other[2].weight.copy_(model[2].weight[:, order])
    x = torch.randn(2, 5).double()
    first, second = (pc.rescale_(m, x, criterion=criterion).result.scales for m in (model, other))
    np.testing.assert_allclose(second[:8], first[:8][order], rtol=1e-8)
    np.testing.assert_allclose(second[8:], first[8:], rtol=1e-8)
