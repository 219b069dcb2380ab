"""Values of the lifted network that agree away from the borders, stored once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pathcond_native.model import diag_g, layers, pooling, trace
from pathcond_native.model.program import Step
from pathcond_native.model.repeats import (
    Repeat,
    aligned,
    in_full,
    through_matrix,
    through_windows,
    written,
)
from pathcond_native.model.scaled import Tape

SIZES = st.integers(1, 30)


@st.composite
def repeated_axes(draw):
    """A stored axis, one entry of which stands for several, and its full size."""
    before, after, count = (
        draw(st.integers(0, 4)),
        draw(st.integers(0, 4)),
        draw(st.integers(2, 25)),
    )
    x = torch.randint(1, 100, (before + 1 + after,)).double()
    return x, Repeat(before, count), before + count + after


@given(repeated_axes(), SIZES, st.integers(1, 4), st.integers(0, 5), st.integers(1, 3))
def test_a_convolution_sees_no_more_copies_than_it_needs(axis, kernel, stride, padding, dilation):
    x, repeat, n = axis
    if n + 2 * padding < dilation * (kernel - 1) + 1:
        return
    weight = torch.randint(1, 100, (1, 1, kernel)).double()

    def convolved(x):
        return functional.conv1d(x[None, None], weight, None, stride, padding, dilation)[0, 0]

    wanted = convolved(in_full(x, {0: repeat}))
    copies, out = through_windows(repeat, len(wanted), kernel, stride, padding, dilation)
    stored = convolved(written(x, 0, repeat.at, copies))
    assert torch.equal(in_full(stored, {0: out} if out else {}), wanted)
    assert out is not None or copies == repeat.count
    assert copies <= repeat.count
    interior = max(0, repeat.count - dilation * (kernel - 1) - stride) // stride
    assert out is not None or interior <= 1


@given(repeated_axes(), SIZES, st.integers(1, 9))
def test_a_matrix_keeps_what_agrees(axis, out, width):
    x, repeat, n = axis
    starts = torch.arange(out) * n // out
    columns = torch.arange(n)
    matrix = ((columns >= starts[:, None]) & (columns < starts[:, None] + width)).double()
    stored, kept = through_matrix(matrix, repeat)
    result = in_full(stored @ x, {0: kept} if kept else {})
    assert torch.equal(result, matrix @ in_full(x, {0: repeat}))


@given(st.data())
def test_sums_of_differently_stored_values(data):
    n = data.draw(st.integers(2, 20))
    tape, xs, wanted = Tape(), [], []
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, n - 1))
        count = data.draw(st.integers(1, n - at))
        x = tape.constant(torch.rand(n - count + 1, dtype=torch.float64))
        repeats = {0: Repeat(at, count)} if count > 1 else {}
        wanted.append(in_full(x.value, repeats))
        xs.append(x.with_repeats(repeats))
    stored, repeats = aligned(xs)
    for x, full in zip(stored, wanted, strict=True):
        assert torch.equal(in_full(x.value, repeats), full)
    assert aligned(xs, plain=0)[1] == {}


class Branches(nn.Module):
    """Sums and concatenations of values whose borders differ."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 5, 2, 2)
        self.norm = nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.join = nn.Conv2d(8, 3, (3, 1), (2, 1), groups=1)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        y = functional.relu(self.wide(x) + self.deep(x))
        x = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 1)
        x = self.join(functional.dropout(torch.cat([x, y], 1), 0.1, self.training))
        x = functional.interpolate(functional.relu(x), scale_factor=2)
        return functional.adaptive_avg_pool2d(x, (3, 2)).flatten(1).sum(1), x


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_full_through_matrix(matrix, repeat):
    stored = matrix.shape[1] - repeat.count + 1
    return matrix @ in_full(torch.eye(stored, dtype=matrix.dtype), {0: repeat}), None


@pytest.mark.parametrize("size", [(17, 31), (40, 40), (64, 23), (96, 80)])
def test_the_same_diagonal_as_in_full(size, monkeypatch):
    model = Branches().double().eval()
    with torch.no_grad():
        model.norm.running_mean.uniform_(-1, 1)
        model.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    graph = trace(model, x)
    g = diag_g(model, x, graph=graph)
    monkeypatch.setattr(layers, "through_windows", lambda repeat, *_: (repeat.count, None))
    monkeypatch.setattr(pooling, "through_matrix", in_full_through_matrix)
    torch.testing.assert_close(g, diag_g(model, x, graph=graph), rtol=1e-12, atol=0)
    assert (g > 0).all()


class AcrossChannels(nn.Module):
    """Pooling over channels repeats entries along their axis too."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def forward(self, x):
        return self.after(functional.max_pool2d(torch.tanh(x), 3, 1, 1))


@pytest.mark.parametrize("after", [nn.BatchNorm1d(9), nn.Conv1d(9, 4, 3, padding=1)])
def test_repeated_channels_are_stored_in_full(after, monkeypatch):
    model = AcrossChannels(after).double().eval()
    x = torch.randn(1, 9, 20, dtype=torch.float64)
    graph = trace(model, x)
    g = diag_g(model, x, graph=graph)
    monkeypatch.setattr(layers, "through_windows", lambda repeat, *_: (repeat.count, None))
    monkeypatch.setattr(pooling, "through_matrix", in_full_through_matrix)
    torch.testing.assert_close(g, diag_g(model, x, graph=graph), rtol=1e-12, atol=0)
    if isinstance(after, nn.BatchNorm1d):  # γ sees what the pool adds up, β every position
        windows = torch.tensor([2.0] + [3.0] * 7 + [2.0]).double()
        positions = windows.new_tensor([2.0] + [3.0] * 18 + [2.0]).sum()
        expected = torch.cat([windows * positions, torch.full((9,), 20.0)])
        torch.testing.assert_close(
            g, expected / (1 + after.eps) ** torch.tensor([1.0] * 9 + [0] * 9)
        )


def halved(x):
    return x * 0.5


@pytest.mark.parametrize(
    "block",
    [
        lambda: nn.Conv2d(1, 1, 3, padding=1),
        lambda: nn.Conv2d(1, 1, (3, 4), padding="same"),
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 1, 3)),
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Lambda(halved)),
    ],
)
def test_large_images_cost_no_more_than_small_ones(block, monkeypatch):
    """The interior is never stored: what a convolution sees stays small."""
    model = nn.Sequential(*(layer for _ in range(5) for layer in (block(), nn.ReLU())))
    largest = 0
    run = Step.call

    def watched(step, replace):
        nonlocal largest
        largest = max(largest, *(x.numel() for x in replace.values()))
        return run(step, replace)

    x = torch.randn(1, 1, 512, 512)
    graph = trace(model, x)
    monkeypatch.setattr(Step, "call", watched)
    diag_g(model, x, graph=graph)
    assert 0 < largest <= 32 * 32


@pytest.mark.parametrize(
    ("mode", "size"), [("bilinear", (796, 796)), ("bicubic", (700, 300)), ("nearest", (120, 1))]
)
def test_interpolation_of_large_images(mode, size):
    """One matrix per axis, never a picture for every entry of an axis."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Upsample(size, mode=mode)).double()
    x = torch.randn(1, 1, 400, 400, dtype=torch.float64)
    g = diag_g(model, x)

    def squares(n, out):
        basis = torch.eye(n, dtype=torch.float64).reshape(n, 1, n, 1)
        return float(functional.interpolate(basis, (out, 1), mode=mode).square().sum())

    # A bias reaches every position, through weights whose squares add up axis by axis.
    assert float(g[-1]) == pytest.approx(squares(398, size[0]) * squares(398, size[1]), rel=1e-9)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("options", [{"size": (8, 11)}, {"size": (3, 9)}, {"scale_factor": 1.7}])
def test_antialiased_interpolation(mode, options):
    """Every bias reaches every position, through squared weights of the full map."""

    def resized(x):
        return functional.interpolate(x, mode=mode, antialias=True, **options)

    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), Lambda(resized)).double()
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64)
    basis = torch.eye(30, dtype=torch.float64).reshape(30, 1, 5, 6)
    expected = float(resized(basis).square().sum())
    assert float(diag_g(model, x)[-1]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [1 / 161, 1 / 187])
def test_interpolation_to_almost_nothing(factor):
    def resized(x):
        return functional.interpolate(x, scale_factor=factor, mode="nearest")

    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), Lambda(resized)).double()
    x = torch.randn(1, 1, 400, 400, dtype=torch.float64)
    assert float(diag_g(model, x)[-1]) == float(resized(x).numel())


@pytest.mark.parametrize("factor", [0.3, 1e-50, 1e39])
def test_constants_keep_the_precision_of_the_computation(factor):
    def scaled(x):
        return x * factor

    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), Lambda(scaled)).double()
    g = diag_g(model, torch.randn(1, 3, dtype=torch.float64))
    assert float(g[-1]) == pytest.approx(factor**2, rel=1e-14)


def test_a_parameter_that_is_an_output():
    class Returned(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.free = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.linear(x), self.free

    model = Returned()
    g = diag_g(model, torch.randn(1, 3))
    first = dict(zip((n for n, _ in model.named_parameters()), g.split([4, 6, 2]), strict=True))
    assert torch.equal(first["free"], torch.ones(4).double())
