"""Pictures of a report: the spread of diag(G) behind them, the figure, the HTML."""

import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

import pathcond_native as pc
from pathcond_native.engine.page import fragment, page
from pathcond_native.engine.spread import QUANTILES

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net():
    """Layers of several kinds, one of which no path goes through."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )
    with torch.no_grad():
        model[4].weight[3] = 0.0
    return model


@pytest.fixture
def report():
    return pc.rescale_(net(), X, spread=True)


def quantiles(model):
    """log10 of the positive entries of diag(G), by parameter, from all of it."""
    graph = pc.trace(model, X)
    g = pc.diag_g(model, X, graph=graph).numpy()
    found = {}
    for info in graph.parameters:
        part = g[info.offset : info.offset + info.size]
        found[info.name] = np.quantile(np.log10(part[part > 0]), QUANTILES)
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"strength": 0.5}, {"round_to": "power_of_two"}, {"criterion": "enorm"}, {"method": "cd"}],
)
def test_the_spread_is_that_of_diag_g_before_and_after(options):
    model = net()
    before = quantiles(model)
    report = pc.rescale_(model, X, spread=True, **options)
    after = quantiles(model)  # of weights that were rounded to float32
    assert [x.parameter for x in report.spread] == list(before)
    for x in report.spread:
        np.testing.assert_allclose(x.before, before[x.parameter], rtol=0, atol=1e-12)
        np.testing.assert_allclose(x.after, after[x.parameter], rtol=0, atol=1e-5)
    assert any(max(np.abs(np.subtract(x.before, x.after))) > 0.05 for x in report.spread)


def test_parameters_without_a_path_have_no_spread():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[3].weight.zero_()
        model[3].bias.zero_()
    report = pc.rescale_(model, torch.ones(1, 3), spread=True)
    assert [x.parameter for x in report.spread] == ["3.weight", "3.bias"]


def test_nothing_is_measured_unless_asked_for(monkeypatch):
    from pathcond_native.model import spread

    def refuse(*_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr(spread, "log10_quantiles", refuse)
    report = pc.rescale_(net(), X)
    assert report.spread is None
    assert "spread" not in report.seconds


def test_scales_are_those_that_were_applied():
    model, old = net(), {name: x.clone() for name, x in net().state_dict().items()}
    model.load_state_dict(old)
    report = pc.rescale_(model, X)
    [norm, hidden] = [group.scales for group in report.groups]
    factor = (model[1].weight / old["1.weight"]).detach().numpy()
    np.testing.assert_allclose(factor, norm, rtol=1e-6)
    factor = (old["6.weight"] / model[6].weight).detach().numpy()
    np.testing.assert_allclose(factor, np.broadcast_to(hidden, factor.shape), rtol=1e-5)
    assert [g.smallest_scale for g in report.groups] == [g.scales.min() for g in report.groups]


def test_a_figure_has_a_panel_for_everything(report):
    figure = report.plot()
    scales, spread, objective = figure.axes
    assert [x.get_text() for x in scales.get_xticklabels()] == [g.name for g in report.groups]
    assert scales.get_yscale() == "log"
    drawn = [line.get_ydata() for line in scales.lines if len(line.get_ydata()) == 2]
    medians = [np.median(group.scales) for group in report.groups]
    assert any(np.allclose(y, medians) for y in drawn)
    assert len(spread.get_xticklabels()) == len(report.spread)
    assert spread.get_legend() is not None
    history = report.result.history / report.result.rows
    np.testing.assert_array_equal(objective.lines[0].get_ydata(), history)
    assert len(pc.rescale_(net(), X).plot().axes) == 2  # without the spread


@pytest.mark.parametrize("criterion", ["enorm", "cle"])
def test_other_criteria_are_drawn_as_what_they_are(criterion):
    report = pc.rescale_(net(), X, criterion=criterion)
    assert "F" not in report.plot().axes[-1].get_ylabel()


def test_nothing_to_draw():
    report = pc.rescale_(nn.Linear(3, 2), torch.ones(1, 3), spread=True)
    with pytest.raises(pc.InvalidInputError, match="nothing to draw"):
        report.plot()
    assert "nothing to rescale" in report._repr_html_()
    assert "<svg" not in report._repr_html_()


def test_many_layers_are_drawn_without_names():
    layers = [m for _ in range(60) for m in (nn.Linear(4, 4), nn.ReLU())]
    report = pc.rescale_(nn.Sequential(*layers, nn.Linear(4, 1)), torch.ones(1, 4), spread=True)
    labels = report.plot().axes[0].get_xlabel()
    assert "60" in labels


class Reader(HTMLParser):
    """Every element must be closed; notes what is there, and what would be fetched."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.fetched, self.cells = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "data") and not value.startswith("#")
        ]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_a_page_is_well_formed_and_needs_nothing_else(report):
    text = page(report, "net & <friends>")
    reader = Reader(text)
    assert reader.open == [] and reader.fetched == []
    assert reader.seen.count("svg") == 1 and "script" not in reader.seen
    assert "url(http" not in text and "@import" not in text
    assert "default-src 'none'" in text
    assert "<title>net &amp; &lt;friends&gt;</title>" in text
    for group in report.groups:
        assert group.range in reader.cells
    assert "model output" in reader.cells


def test_a_notebook_shows_the_fragment(report):
    text = report._repr_html_()
    assert Reader(text).open == []
    assert "<html" not in text and "<svg" in text


def test_names_are_escaped():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<b>", nn.Linear(3, 4))
            self.add_module("&", nn.Linear(4, 2))

        def forward(self, x):
            return self._modules["&"](torch.relu(self._modules["<b>"](x)))

    text = fragment(pc.rescale_(Odd(), torch.ones(1, 3), spread=True))
    assert "<b>" not in text and "&lt;b&gt;" in text
    assert Reader(text).open == []


def test_without_matplotlib_the_tables_remain(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = report._repr_html_()
    assert "<table>" in text and "<svg" not in text
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pathcond-native\[plot\]'"):
        report.plot()
