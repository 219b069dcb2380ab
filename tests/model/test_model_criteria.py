"""criterion="enorm" and "cle" on models, against their definitions."""

import copy
import importlib

import numpy as np
import pytest
import torch
from families import load_torchvision
from symmetry import rescaled
from torch import nn
from torch.nn import functional
from zoo import ZOO, Net, graph_of, mlp, trained

import pathcond_native as pc
from pathcond_native import _core

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
