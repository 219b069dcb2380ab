"""A report as a figure: scales per layer, spread of diag(G), objective per sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError
from .report import OBJECTIVE
from .spread import QUANTILES
from .table import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .report import RescaleReport

__all__ = ["draw", "figure_class"]

_BEFORE, _AFTER, _SCALES = "tab:orange", "tab:blue", "tab:green"
_NAMED = 40  # names under an axis at most


def figure_class() -> type[Figure]:
    """Matplotlib's figure, without pyplot and its global state.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what to do.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'pathcond-native[plot]'", name=error.name
        ) from error
    return Figure


def draw(report: RescaleReport) -> Figure:
    """One panel for each thing that the report knows.

    Raises:
        InvalidInputError: nothing was solved, so there is nothing to draw.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if report.result is None:
        raise InvalidInputError(f"report: nothing to draw, because {report.nothing_because}")
    panels = [_scales, *([_spread] if report.spread else []), _objective]
    figure = figure_class()(figsize=(9, 3.2 * len(panels)), layout="constrained")
    for number, panel in enumerate(panels):
        panel(report, figure.add_subplot(len(panels), 1, number + 1))
    return figure


def _scales(report: RescaleReport, axes: Any) -> None:
    """Boxes of λ per layer."""
    quantiles = [tuple(np.quantile(g.scales, QUANTILES)) for g in report.groups]
    _boxes(axes, quantiles, 0.0, _SCALES, "")
    axes.axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylabel("factor λ")
    axes.set_title("scales per layer: range, quartiles, median", fontsize="medium")
    _name(axes, [group.name for group in report.groups])


def _spread(report: RescaleReport, axes: Any) -> None:
    """Boxes of log10 diag(G) per parameter, before beside after."""
    spread = report.spread or ()
    _boxes(axes, [x.before for x in spread], -0.2, _BEFORE, "before")
    _boxes(axes, [x.after for x in spread], 0.2, _AFTER, "after")
    axes.legend(fontsize="small")
    axes.set_ylabel("log10 diag(G)")
    axes.set_title("diag(G) per parameter: range, quartiles, median", fontsize="medium")
    _name(axes, [x.parameter for x in spread])


def _objective(report: RescaleReport, axes: Any) -> None:
    """The criterion at the start and after every sweep."""
    result = report.result
    assert result is not None
    of_parameters = report.criterion == "pathcond"
    history = result.history / result.rows if of_parameters else result.history
    axes.plot(history, marker=".", color=_SCALES)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("sweep of the solver")
    axes.set_ylabel("F / p (nats)" if of_parameters else OBJECTIVE[report.criterion])
    axes.set_title(f"objective ({result.status})", fontsize="medium")


def _boxes(
    axes: Any, quantiles: Sequence[Sequence[float]], shift: float, colour: str, label: str
) -> None:
    """A thin line for the range, a thick one for the quartiles, a dot for the median."""
    if not quantiles:
        return
    low, first, middle, third, high = np.array(quantiles).T
    x = np.arange(len(low)) + shift
    axes.vlines(x, low, high, color=colour, linewidth=1)
    axes.vlines(x, first, third, color=colour, linewidth=4, label=label or None)
    edge = {"markeredgecolor": "black", "markeredgewidth": 0.6}
    axes.plot(x, middle, "o", color=colour, markersize=3.5, **edge)


def _name(axes: Any, names: list[str]) -> None:
    """Names under the axis, where there is room for all."""
    if len(names) > _NAMED:
        axes.set_xlabel(f"from input to output ({len(names)} of them)")
        return
    axes.set_xticks(range(len(names)), [shorten(name, 24) for name in names])
    axes.tick_params(axis="x", labelrotation=90, labelsize="x-small")
