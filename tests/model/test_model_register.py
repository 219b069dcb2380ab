"""`register_rule`: operators that users add, and the table of those that are there."""

from pathlib import Path

import pytest
import torch
from symmetry import assert_symmetric
from torch import nn
from zoo import Net

from pathcond_native.errors import InvalidInputError
from pathcond_native.model import NoRule, operators, register_rule, trace
from pathcond_native.model.rules import FAMILIES, RULES


@torch.library.custom_op("pathcond_test::steep_relu", mutates_args=())
def steep_relu(x: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.where(x > 0, slope * x, 0.0 * x)


@steep_relu.register_fake
def _(x, slope):
    return torch.empty_like(x)


@torch.library.custom_op("pathcond_test::last_mean", mutates_args=())
def last_mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(-1)


@last_mean.register_fake
def _(x):
    return x.new_empty(x.shape[:-1])


@pytest.fixture(autouse=True)
def rules_restored():
    kept = dict(RULES)
    yield
    RULES.clear()
    RULES.update(kept)


def model():
    return Net(
        lambda s, x: s.b(last_mean(steep_relu(s.a(x), 2.0))),
        a=nn.Conv1d(3, 5, 1),
        b=nn.Linear(5, 2),
    ).double()


X = (torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4),)


def scale(scales, step):
    return scales.uniform(scales[step["x"]], [2])[..., 0]


def lift(lift, step):
    return lift.full(step["x"], [2]).map(lambda x: x.sum(-1) / x.shape[-1] ** 2)


def test_a_custom_operator_is_pinned_until_it_has_a_rule():
    graph = trace(model(), X)
    assert graph.shape[1] == 0
    assert [x.operator for x in graph.unsupported] == [
        "pathcond_test.steep_relu",
        "pathcond_test.last_mean",
    ]
    register_rule(steep_relu)
    register_rule("pathcond_test::last_mean", scale=scale, lift=lift)
    net = model()
    graph = trace(net, X)
    assert graph.shape[1] == 5 and not graph.unsupported
    assert_symmetric(net, X, graph)


@pytest.mark.parametrize(
    "op",
    [
        "pathcond_test::steep_relu",
        torch.ops.pathcond_test.steep_relu,
        torch.ops.pathcond_test.steep_relu.default,
        steep_relu,
    ],
)
def test_names_of_operators(op):
    register_rule(op)
    assert "pathcond_test.steep_relu" in RULES


def test_a_rule_may_decline():
    def declines(scales, step):
        raise NoRule("it is Tuesday")

    register_rule(steep_relu, scale=declines, lift=lift)
    graph = trace(model(), X)
    assert graph.unsupported[0].reason == "it is Tuesday"


@pytest.mark.parametrize("op", [None, 3, "relu", torch.relu])
def test_unusable_operators(op):
    with pytest.raises(InvalidInputError, match="op: expected 'namespace::name'"):
        register_rule(op)


def test_half_a_rule():
    with pytest.raises(InvalidInputError, match="expected both or neither"):
        register_rule(steep_relu, scale=scale)


def test_the_table_has_a_line_for_every_family():
    lines = operators.table().splitlines()
    assert len(lines) == len(FAMILIES) + 3
    assert all(line.count("|") == 4 for line in lines)
    assert sum(len(family.rules) for family in FAMILIES) == len(RULES), (
        "an operator is listed twice"
    )


def test_every_operator_of_the_table_exists():
    for name in RULES:
        if not name.startswith("aten._"):  # those come and go with versions of PyTorch
            assert hasattr(torch.ops.aten, name.removeprefix("aten.")), name


def test_the_readme_shows_the_table():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- operators -->")[2].partition("<!-- /operators -->")[0].strip()
    if not shown:
        pytest.skip("the README shows no table")
    assert shown == operators.table()
