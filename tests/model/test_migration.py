"""Published procedures, in our own words, next to what `benchmarks/examples/README.md` offers."""

import copy
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from zoo import mlp, trained

import pathcond_native as pc

PAGE = Path(__file__).parents[2] / "benchmarks" / "examples" / "README.md"
LAYERS = (nn.Linear, nn.Conv2d)


def cnn(bias=True):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=bias),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, bias=bias),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 7, bias=bias),
        nn.ReLU(),
        nn.Linear(7, 3, bias=bias),
    )


def without_biases(model):
    for layer in model:
        if isinstance(layer, LAYERS):
            layer.bias = None
    return model


NETWORKS = {
    "mlp": (lambda: mlp(6, 9, 4, 8, 3), (2, 6)),
    "cnn": (cnn, (2, 2, 6, 6)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    build, shape = NETWORKS[request.param]
    return trained(build().double()), torch.randn(shape, dtype=torch.float64)


def hidden(model):
    """Pairs of layers: what enters the neurons between them, and what leaves them."""
    return list(pairwise([x for x in model if isinstance(x, LAYERS)]))


def entering(values):
    """Weights that enter a layer's channels: a row each."""
    return values.reshape(len(values), -1)


def leaving(values, channels):
    """Weights that leave channels, flattened ones too: (outputs, channels, the rest)."""
    return values.reshape(len(values), channels, -1)


@torch.no_grad()
def move(a, b, scales, *, biases=True):
    """Multiply what enters the neurons between two layers, divide what leaves them."""
    n = len(scales)
    entering(a.weight).mul_(scales[:, None])
    if biases and a.bias is not None:
        a.bias.mul_(scales)
    leaving(b.weight, n).div_(scales[:, None])


def assert_equal(model, twin, rtol):
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=0, msg=lambda text, n=name: f"{n}: {text}")


def assert_same_function(model, twin, x):
    torch.testing.assert_close(model(x), twin(x), rtol=1e-9, atol=1e-12)


def diagonal(model, x):
    """diag(G) of a chain without pooling: squared weights, ones in, one backward pass."""
    squares = {k: p.detach().square().requires_grad_() for k, p in model.named_parameters()}
    total = functional_call(model, squares, (torch.ones_like(x[:1]),)).sum()
    return dict(zip(squares, torch.autograd.grad(total, list(squares.values())), strict=True))


def path_conditioned(model, x, sweeps=10, tolerance=1e-2):
    """The authors' procedure: neurons in order, each to its best scale, for at most ten sweeps."""
    w = {id(model.get_parameter(k)): g.clone() for k, g in diagonal(model, x).items()}
    p = sum(x.numel() for x in w.values())
    u = [torch.zeros(len(a.weight), dtype=torch.float64) for a, _ in hidden(model)]
    for _ in range(sweeps):
        change = 0.0
        for (a, b), steps in zip(hidden(model), u, strict=True):
            out = leaving(w[id(b.weight)], len(steps))
            for h in range(len(steps)):
                inside, bias = entering(w[id(a.weight)])[h], w[id(a.bias)][h : h + 1]
                left, entered = float(out[:, h].sum()), float(inside.sum() + bias.sum())
                rest = sum(float(x.sum()) for x in w.values()) - left - entered
                d = out[:, h].numel() - inside.numel() - 1
                t = float(max(np.roots([(p - d) * left, -d * rest, -(p + d) * entered]).real))
                out[:, h] *= t
                inside /= t
                bias /= t
                steps[h] += np.log(t)
                change += abs(np.log(t))
        if change < tolerance:
            break
    for (a, b), steps in zip(hidden(model), u, strict=True):
        move(a, b, torch.exp(steps / 2))


def test_the_authors_ten_sweeps(network):
    model, x = network
    theirs, optimum = copy.deepcopy(model), copy.deepcopy(model)
    path_conditioned(theirs, x)
    ours = copy.deepcopy(model)
    report = pc.rescale_(ours, x, method="cd")
    assert_equal(ours, theirs, rtol=1e-9)
    assert_same_function(model, theirs, x)
    # Many more of their sweeps end where the other line goes at once.
    best = pc.rescale_(optimum, x)
    assert best.objective <= report.objective
    path_conditioned(theirs, x, sweeps=100, tolerance=1e-9)
    assert_equal(optimum, theirs, rtol=1e-6)


def enorm_cycle(model, *, biases):
    """One of ENorm: neuron by neuron, equal norms of what enters and leaves."""
    for a, b in hidden(model):
        enters = entering(a.weight).square().sum(1)
        if biases:
            enters = enters + a.bias.square()
        leaves = leaving(b.weight, len(enters)).square().sum((0, 2))
        move(a, b, (leaves / enters).detach() ** 0.25, biases=biases)


def test_enorm_without_biases_is_the_published_one(network):
    model, x = without_biases(network[0]), network[1]
    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    for _ in range(3):
        enorm_cycle(theirs, biases=False)
        pc.rescale_(ours, x, criterion="enorm", method="cd", max_sweeps=1)
        assert_equal(ours, theirs, rtol=1e-10)
    for _ in range(200):
        enorm_cycle(theirs, biases=False)
    pc.rescale_(ours, x, criterion="enorm")
    assert_equal(ours, theirs, rtol=1e-6)
    assert_same_function(model, theirs, x)


def test_enorm_with_biases_keeps_the_function(network):
    model, x = network
    theirs, ours, cycles = (copy.deepcopy(model) for _ in range(3))
    enorm_cycle(theirs, biases=False)
    assert not torch.allclose(theirs(x), model(x), rtol=1e-2)
    for _ in range(200):
        enorm_cycle(cycles, biases=True)
    pc.rescale_(ours, x, criterion="enorm")
    assert_equal(ours, cycles, rtol=1e-6)
    assert_same_function(model, ours, x)


def equalise_pairs(model):
    """Cross-layer equalisation, once: s_i = sqrt(r1 r2) / r2 divides what enters channel i."""
    for a, b in hidden(model):
        first = entering(a.weight).detach().abs().amax(1)
        second = leaving(b.weight, len(first)).detach().abs().amax((0, 2))
        move(a, b, second / torch.sqrt(first * second))


def test_pairwise_equalisation(network):
    model, x = network
    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    equalise_pairs(theirs)
    pc.rescale_(ours, x, criterion="cle", max_sweeps=1)
    assert_equal(ours, theirs, rtol=1e-10)
    for _ in range(200):
        equalise_pairs(theirs)
    ours = copy.deepcopy(model)
    assert pc.rescale_(ours, x, criterion="cle").result.converged
    assert_equal(ours, theirs, rtol=1e-7)
    assert_same_function(model, theirs, x)


def test_equalisation_through_a_depthwise_convolution():
    """The published rule for three layers: all ranges become the cube root of their product."""
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU()]
    model = trained(nn.Sequential(*layers, nn.Conv2d(6, 3, 1)).double())
    x = torch.randn(2, 2, 7, 7, dtype=torch.float64)
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    pc.rescale_(ours, x, criterion="cle")
    a, depthwise, b = theirs[0], theirs[2], theirs[4]
    axes = ((a, (1, 2, 3)), (depthwise, (1, 2, 3)), (b, (0, 2, 3)))
    ranges = [layer.weight.detach().abs().amax(over) for layer, over in axes]
    middle = torch.stack(ranges).prod(0) ** (1 / 3)
    first, last = middle / ranges[0], ranges[2] / middle
    with torch.no_grad():
        entering(a.weight).mul_(first[:, None])
        a.bias.mul_(first)
        entering(depthwise.weight).mul_((last / first)[:, None])
        depthwise.bias.mul_(last)
        leaving(b.weight, 6).div_(last[:, None])
    assert_equal(ours, theirs, rtol=1e-7)
    assert_same_function(model, theirs, x)


def rows():
    table = PAGE.read_text().split("# Coming from other tools")[1].split("What differs")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [re.findall("`([^`]+)`", row[-1])[0] for row in cells[2:]]


def test_every_new_line_of_the_table_runs(network):
    model, x = network
    before = model(x).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(x).square().sum().backward()
    scope = {"pc": pc, "model": model, "x": x, "optimizer": optimizer}
    assert len(rows()) == 7
    for line in rows():
        exec(line, scope)
        torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-12)
