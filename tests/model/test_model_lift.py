"""diag(G) of products, norms, embeddings, interpolation and attention against path enumeration."""

import itertools

import numpy as np
import pytest
import torch
from operator_modules import Raw
from oracle import Numbering, add, mapped, ones, product
from torch import nn
from torch.nn import functional
from zoo import Net, trained

from pathcond_native.model import diag_g

Linear, relu = nn.Linear, functional.relu


def assert_matches(model, inputs, oracle):
    model = trained(model).double()
    if inputs.is_floating_point():
        inputs = inputs.double()
    numbers = Numbering(model)
    expected = numbers.diag_g(oracle(numbers))
    assert (expected > 0).sum() > len(expected) / 2
    np.testing.assert_allclose(diag_g(model, inputs).numpy(), expected, rtol=1e-10, atol=0)


def test_products_of_branches():
    model = Net(
        lambda s, x: s.c(s.a(x) * relu(s.b(x))), a=Linear(2, 3), b=Linear(2, 3), c=Linear(3, 2)
    )

    def oracle(n):
        return n.linear(product(n.linear(ones(2), "a"), n.linear(ones(2), "b")), "c")

    assert_matches(model, torch.randn(2, 2), oracle)


def test_powers():
    model = Net(lambda s, x: s.b(relu(s.a(x)) ** 3), a=Linear(2, 3), b=Linear(3, 2))

    def oracle(n):
        h = n.linear(ones(2), "a")
        return n.linear(product(product(h, h), h), "b")

    assert_matches(model, torch.randn(2, 2), oracle)


def test_a_sigmoid_gate_is_a_fresh_input():
    model = Net(
        lambda s, x: s.c(s.a(x) * torch.sigmoid(s.b(x))),
        a=Linear(2, 3),
        b=Linear(2, 3),
        c=Linear(3, 2),
    ).double()
    numbers = Numbering(model)
    expected = numbers.diag_g(numbers.linear(numbers.linear(ones(2), "a"), "c"))
    g = diag_g(model, torch.randn(2, 2, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(g, expected, rtol=1e-10, atol=0)
    assert not g[9:18].any()


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.GroupNorm(2, 4), (2, 3, 4)),
        (nn.InstanceNorm1d(4, affine=True), (2, 3, 4)),
        (nn.BatchNorm1d(4, track_running_stats=False), (2, 3, 4)),
    ],
    ids=repr,
)
def test_norms_start_new_paths(norm, shape):
    model = Net(lambda s, x: s.b(s.n(s.a(x))), a=nn.Conv1d(3, 4, 1), n=norm, b=nn.Conv1d(4, 2, 1))
    model = model.double()
    with torch.no_grad():
        for x in norm.parameters():
            x.normal_()
    numbers = Numbering(model)
    h = numbers.affine((4, 4), "n")
    numbers.rows["b.weight"] = numbers.rows["b.weight"][:, :, 0]
    out = np.stack([numbers.linear(h[:, t], "b") for t in range(4)], 1)
    g = diag_g(model, torch.randn(shape, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(g, numbers.diag_g(out), rtol=1e-10, atol=0)


def test_layer_norm():
    model = nn.Sequential(nn.LayerNorm(4), Linear(4, 2))
    assert_matches(model, torch.randn(2, 4), lambda n: n.linear(n.affine((4,), "0"), "1"))


def test_embedding():
    model = nn.Sequential(nn.Embedding(5, 3), Linear(3, 2))
    tokens = torch.tensor([[1, 2, 4]])

    def oracle(n):
        out = n.linear(n.embedding("0"), "1")
        return np.stack([out] * 3)

    assert_matches(model, tokens, oracle)


def test_bilinear():
    model = Net(
        lambda s, x: s.c(s.a(x), s.b(x)), a=Linear(2, 3), b=Linear(2, 2), c=nn.Bilinear(3, 2, 2)
    )

    def oracle(n):
        return n.bilinear(n.linear(ones(2), "a"), n.linear(ones(2), "b"), "c")

    assert_matches(model, torch.randn(2, 2), oracle)


def test_layer_scale_and_added_parameters():
    model = Raw(
        lambda s, x: s.b(s.gamma * s.a(x) + s.shift),
        {"gamma": (3,), "shift": (3,)},
        a=Linear(2, 3),
        b=Linear(3, 2),
    )

    def oracle(n):
        h = n.gain(n.linear(ones(2), "a"), "gamma")
        shift = np.empty(3, dtype=object)
        for i in range(3):
            shift[i] = [(1.0, (n.rows["shift"][i],))]
        return n.linear(add(h, shift), "b")

    assert_matches(model, torch.randn(2, 2), oracle)


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": 2, "mode": "nearest"},
        {"size": (5, 3), "mode": "bilinear", "align_corners": True},
        {"size": (5, 7), "mode": "bicubic"},
    ],
    ids=lambda x: x["mode"],
)
def test_interpolation(options):
    model = Net(lambda s, x: functional.interpolate(s.a(x), **options), a=nn.Conv2d(1, 2, 1))
    units = torch.eye(12, dtype=torch.float64).reshape(12, 1, 4, 3)
    weights = functional.interpolate(units, **options).reshape(12, -1).T.numpy()

    def oracle(n):
        h = n.conv2d(ones(1, 4, 3), "a", padding=0)
        return mapped(h.reshape(2, 12), weights, 1)

    assert_matches(model, torch.randn(1, 1, 4, 3), oracle)


def values_oracle(n, value_rows, keys=3):
    """Attention: every query sees the sum over the keys of the values."""
    value = np.empty(4, dtype=object)
    weight, bias = value_rows
    for o in range(4):
        value[o] = [(1.0, (r,)) for r in weight[o]] + [(1.0, (bias[o],))]
    seen = np.empty(4, dtype=object)
    for o in range(4):
        seen[o] = list(itertools.chain(*[value[o]] * keys))
    out = n.linear(seen, "m.out_proj")
    return np.stack([out] * keys)


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_value_path_of_attention(need_weights):
    model = Net(
        lambda s, x: s.m(x, x, x, need_weights=need_weights)[0],
        m=nn.MultiheadAttention(4, 2, batch_first=True),
    ).double()
    numbers = Numbering(model)
    rows = numbers.rows["m.in_proj_weight"][8:], numbers.rows["m.in_proj_bias"][8:]
    with torch.no_grad():
        for x in model.parameters():
            x.normal_()
    numbers = Numbering(model)
    g = diag_g(model, torch.randn(1, 3, 4, dtype=torch.float64)).numpy()
    expected = numbers.diag_g(values_oracle(numbers, rows))
    np.testing.assert_allclose(g, expected, rtol=1e-10, atol=0)
    assert not g[: 8 * 4].any()


def test_grouped_convolution_and_channel_shuffle():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 2, groups=2), nn.ChannelShuffle(2), nn.Conv2d(4, 2, 1, groups=2)
    )

    def oracle(n):
        h = n.conv2d(ones(2, 3, 3), "0", groups=2)
        return n.conv2d(h[[0, 2, 1, 3]], "2", groups=2)

    assert_matches(model, torch.randn(1, 2, 3, 3), oracle)


def test_zero_padding_carries_no_path():
    model = Net(
        lambda s, x: s.b(functional.pad(s.a(x), (1, 0))), a=nn.Conv2d(1, 2, 1), b=nn.Conv2d(2, 1, 2)
    )

    def oracle(n):
        h = n.conv2d(ones(1, 3, 2), "a")
        padded = np.empty((2, 3, 3), dtype=object)
        padded[:, :, 1:] = h
        for c, r in np.ndindex(2, 3):
            padded[c, r, 0] = []
        return n.conv2d(padded, "b")

    assert_matches(model, torch.randn(1, 1, 3, 2), oracle)


def test_masked_weights():
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    model = Raw(lambda s, x: s.b(functional.linear(x, s.w * mask)), {"w": (3, 2)}, b=Linear(3, 2))

    def oracle(n):
        h = np.empty(3, dtype=object)
        for o in range(3):
            h[o] = [(1.0, (n.rows["w"][o, i],)) for i in range(2) if mask[o, i]]
        return n.linear(h, "b")

    assert_matches(model, torch.randn(2, 2), oracle)


def test_weight_norm_counts_its_length_only():
    layer = torch.nn.utils.parametrizations.weight_norm(Linear(2, 3))
    model = nn.Sequential(layer, Linear(3, 2)).double()
    g = dict(
        zip(
            [name for name, _ in model.named_parameters()],
            diag_g(model, torch.randn(1, 2, dtype=torch.float64)).split(
                [x.numel() for x in model.parameters()]
            ),
            strict=True,
        )
    )
    lengths, directions = (g[f"0.parametrizations.weight.original{i}"] for i in (0, 1))
    assert not directions.any()
    # Σ_j (v_j/|v|)² = 1: each row's length is one path's worth.
    torch.testing.assert_close(lengths, g["0.bias"])
