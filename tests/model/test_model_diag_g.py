"""diag(G) against path enumeration, known structure, and the limits of floating point."""

import functools
import math

import numpy as np
import pytest
import torch
from oracle import Numbering, add, ones, pool2d
from torch import nn
from torch.nn import functional
from zoo import ZOO, Net, graph_of, mlp, trained

from pathcond_native.errors import InvalidInputError
from pathcond_native.model import diag_g, trace


def assert_matches(model, inputs, oracle):
    model = trained(model).double()
    g = diag_g(model, inputs.double()).numpy()
    numbers = Numbering(model)
    np.testing.assert_allclose(g, numbers.diag_g(oracle(numbers)), rtol=1e-10, atol=0)


def test_mlp():
    model = mlp(3, 4, 5, 2)

    def oracle(n):
        return n.linear(n.linear(n.linear(ones(3), "0"), "2"), "4")

    for batch in (1, 5):
        assert_matches(model, torch.randn(batch, 3), oracle)


def test_no_bias_and_linear_without_activation():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2))
    assert_matches(model, torch.randn(1, 3), lambda n: n.linear(n.linear(ones(3), "0"), "1"))


def test_conv_max_and_average_pooling():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(2, 2, 1, groups=2),
        nn.LeakyReLU(),
        nn.AvgPool2d(2, 1, 1),
        nn.Flatten(),
        nn.Linear(18, 2),
    )

    def oracle(n):
        x = pool2d(n.conv2d(ones(1, 4, 4), "0", padding=1), 3, 2, 1, average=False)
        x = pool2d(n.conv2d(x, "3", groups=2), 2, 1, 1, average=True)
        return n.linear(x.reshape(-1), "7")

    assert_matches(model, torch.randn(1, 1, 4, 4), oracle)


def test_batch_norm():
    model = nn.Sequential(nn.Conv2d(2, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1))

    def oracle(n):
        return n.conv2d(n.batch_norm(n.conv2d(ones(2, 3, 3), "0"), "1"), "3")

    assert_matches(model, torch.randn(2, 2, 3, 3), oracle)


def test_residual_add_and_concatenation():
    def forward(s, x):
        h = s.a(x).relu()
        h = h + s.c(s.b(h).relu())
        return s.d(torch.cat([h, x], dim=1))

    model = Net(forward, a=nn.Linear(2, 3), b=nn.Linear(3, 2), c=nn.Linear(2, 3), d=nn.Linear(5, 2))

    def oracle(n):
        h = n.linear(ones(2), "a")
        h = add(h, n.linear(n.linear(h, "b"), "c"))
        return n.linear(np.concatenate([h, ones(2)]), "d")

    assert_matches(model, torch.randn(1, 2), oracle)


def test_paths_end_at_tanh():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    assert_matches(model, torch.randn(1, 2), lambda n: n.linear(ones(3), "2"))


def test_prelu_slopes_are_on_no_path():
    model = mlp(3, 4, 2, activation=nn.PReLU)
    model_g = diag_g(model, torch.randn(1, 3)).split([12, 4, 1, 8, 2])
    assert float(model_g[2]) == 0.0
    assert all(bool((part > 0).all()) for i, part in enumerate(model_g) if i != 2)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
        nn.MaxPool2d((2, 3), (1, 2)),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((3, 4)),
        nn.AdaptiveMaxPool2d((3, 4)),
    ],
    ids=repr,
)
def test_pooling_windows_are_those_of_the_operator(pool):
    """The lifted pooling of ones·k² has the weights that the operator's own derivative shows."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), pool).double()
    x = torch.randn(1, 1, 9, 10, dtype=torch.float64)
    average = isinstance(pool, (nn.AvgPool2d, nn.AdaptiveAvgPool2d))
    positions = torch.eye(90, dtype=torch.float64).reshape(90, 1, 9, 10)
    # Response to each single input position; a maximum over others at -1 shows its window.
    response = pool(positions) if average else (pool(2 * positions - 1) > 0).double()
    expected = response.square().sum()
    torch.testing.assert_close(diag_g(model, x)[0], expected, rtol=1e-12, atol=0)


def test_batch_size_and_unused_outputs_do_not_matter():
    model = ZOO["residual"].build()
    one, many = (diag_g(model, torch.randn(n, 3, 5, 5)) for n in (1, 6))
    torch.testing.assert_close(one, many, rtol=1e-12, atol=0)


def test_the_expected_value_for_random_layers():
    n, sigma = (6, 9, 7, 4), (0.5, 0.7, 0.4)
    total = [0.0, 0.0, 0.0]
    draws = 400
    model = nn.Sequential(*(nn.Linear(n[k], n[k + 1], bias=k < 2) for k in range(3))).double()
    x = torch.randn(1, 6, dtype=torch.float64)
    graph = trace(model, x)
    for _ in range(draws):
        for k in range(3):
            for parameter in model[k].parameters():
                nn.init.normal_(parameter, std=sigma[k])
        g = diag_g(model, x, graph=graph)
        sizes = [x.numel() for x in model.parameters()]
        for k, part in enumerate(g.split(sizes)[::2]):
            total[k] += float(part.mean()) / draws
    for layer in (1, 2, 3):
        expected = math.prod(m for i, m in enumerate(n) if i not in (layer - 1, layer)) * math.prod(
            s**2 for k, s in enumerate(sigma, 1) if k != layer
        )
        for j in range(1, layer):
            expected += math.prod(
                m for i, m in enumerate(n) if i >= j and i not in (layer - 1, layer)
            ) * math.prod(s**2 for k, s in enumerate(sigma, 1) if k >= j and k != layer)
        assert total[layer - 1] == pytest.approx(expected, rel=0.15)


def log_diag_g(model):
    """log diag(G) of a chain of linear layers, in log space throughout."""
    weights = [x.detach().double() for x in model.parameters()]
    weights, biases = weights[::2], weights[1::2]
    log2 = [(w.square().log(), b.square().log()) for w, b in zip(weights, biases, strict=True)]
    forward = [torch.zeros(weights[0].shape[1], dtype=torch.float64)]
    for w, b in log2:
        forward.append(torch.logaddexp(torch.logsumexp(w + forward[-1], 1), b))
    back = torch.zeros(weights[-1].shape[0], dtype=torch.float64)
    parts = []
    for (w, _), x in zip(reversed(log2), reversed(forward[:-1]), strict=True):
        parts = [(back[:, None] + x).reshape(-1), back, *parts]
        back = torch.logsumexp(w + back[:, None], 0)
    return torch.cat(parts)


@functools.cache
def deep_chain():
    """A chain of 200 layers and its graph, which does not depend on values."""
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(200))).double()
    return model, trace(model, torch.randn(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("scales", [(1e-3,), (1e3,), (1e3, 1e-3), (1e150, 1e-150)])
@pytest.mark.parametrize("alternate", [False, True])
def test_two_hundred_layers_stay_in_range(scales, alternate):
    model, graph = deep_chain()
    depth = len(model)
    with torch.no_grad():
        for k, layer in enumerate(model):
            scale = scales[k % len(scales) if alternate else k * len(scales) // depth]
            for x in layer.parameters():
                x.normal_().mul_(scale)
    g = diag_g(model, torch.randn(1, 3, dtype=torch.float64), graph=graph)
    assert bool(torch.isfinite(g).all()) and bool((g > 0).all())
    expected = log_diag_g(model)
    offset = float(g.log()[expected.argmax()] - expected.max())
    representable = expected + offset > math.log(1e-300)
    assert int(representable.sum()) > 10
    torch.testing.assert_close(
        g.log()[representable], (expected + offset)[representable], rtol=0, atol=1e-9
    )


def test_float32_is_close_to_float64():
    model = ZOO["norm2d"].build()
    x = torch.randn(2, 2, 5, 5)
    single, double = (diag_g(model, x, dtype=t) for t in (torch.float32, torch.float64))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


def test_a_reused_parameter_collects_all_its_uses():
    model = Net(lambda s, x: s.a(x) + s.a(2 * x), a=nn.Linear(2, 3)).double()
    g = diag_g(model, torch.randn(1, 2, dtype=torch.float64))
    torch.testing.assert_close(g, torch.tensor([5.0] * 6 + [2.0] * 3).double())


@pytest.mark.parametrize("name", ZOO)
def test_the_model_is_untouched(name, bits):
    case, graph = ZOO[name], graph_of(name)
    model = case.build().train()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before, gradients = bits(model), [x.grad.clone() for x in model.parameters()]
    versions = [x._version for x in model.parameters()]
    random_state = torch.get_rng_state()
    x = torch.randn(case.inputs, generator=torch.Generator().manual_seed(1))
    trace(model, x)
    diag_g(model, x, graph=graph)
    assert bits(model) == before
    assert versions == [x._version for x in model.parameters()]
    assert all(torch.equal(x.grad, y) for x, y in zip(model.parameters(), gradients, strict=True))
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_bad_arguments():
    model, x = mlp(3, 4, 2), torch.randn(1, 3)
    with pytest.raises(InvalidInputError, match=r"dtype: expected torch\.float32 or"):
        diag_g(model, x, dtype=torch.int64)
    with pytest.raises(InvalidInputError, match="traced from another model"):
        diag_g(model, x, graph=trace(mlp(3, 5, 2), x))
    model[0].bias.data[1] = math.nan
    with pytest.raises(InvalidInputError, match=r"'0\.bias' holds NaN or infinity"):
        diag_g(model, x)
    norm = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    norm[1].running_mean[0] = math.inf
    with pytest.raises(InvalidInputError, match="a buffer or constant"):
        diag_g(norm, x)


def test_functional_relu_and_dropout_in_training_are_identities():
    model = Net(
        lambda s, x: s.b(functional.dropout(functional.relu(s.a(x)), 0.3, training=True)),
        a=nn.Linear(2, 3),
        b=nn.Linear(3, 1),
    )
    assert_matches(model, torch.randn(1, 2), lambda n: n.linear(n.linear(ones(2), "a"), "b"))
