"""``python -m benchmarks.paper.evidence``: writes the tables of ``benchmarks/results/EVIDENCE.md``.

Every method is compared with no rescaling, seed by seed, each at its own best learning rate (the
smallest median over the seeds) and at equal rates. Intervals are Student's at 95 % for the mean of
the logarithm of the ratio over the seeds: of three, t = 4.30 and nothing is said about the choice
of the rate, which was made on the same seeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import numpy as np
from scipy.stats import t

from . import figure2, figure3, figure5, initialisations
from .rates import Table, best, by_rate
from .record import RESULTS, Facts, Record

PAGE = RESULTS.parent / "EVIDENCE.md"


def stored(name: str) -> Record:
    path = RESULTS / f"{name}.json"
    return Record(path, json.loads(path.read_text())["settings"])


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean and 95 % interval."""
    logs = np.log(ratios)
    half = t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    mean = logs.mean()
    return tuple(np.exp([mean, mean - half, mean + half]).tolist())


def ratio(values: list[float], reference: list[float]) -> str:
    """Of what is finite, seed by seed; what is not is counted."""
    pairs = np.array([values, reference])
    finite = pairs[:, np.isfinite(pairs).all(0)]
    missing = "".join(
        f", {np.isinf(row).sum()} {who} failed"
        for row, who in zip(pairs, ("", "of none"), strict=True)
        if np.isinf(row).any()
    ).replace("  ", " ")
    if finite.shape[1] < 2:
        return missing.removeprefix(", ")
    mean, low, high = interval(finite[0] / finite[1])
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]{missing}"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] + ["---:"] * (len(lines[0]) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def at_best(found: Table, setting: str, form: str) -> str:
    """Per setting and method: best rate, median, and the ratio to none."""
    chosen = best(found)
    rows = []
    for (title, method), (rate, values) in chosen.items():
        edge = " (edge)" if rate in (min(found[title, method]), max(found[title, method])) else ""
        against = "" if method == "none" else ratio(values, chosen[title, "none"][1])
        rows.append([title, method, f"{rate:g}{edge}", format(np.median(values), form), against])
    return markdown([setting, "method", "best rate", "median", "ratio to none [95 %]"], rows)


def at_rates(found: Table, setting: str, form: str) -> str:
    """Per setting and method: medians at every rate."""
    rates = sorted({rate for by in found.values() for rate in by})
    rows = [
        [title, method, *(format(np.median(by[r]), form) if r in by else "" for r in rates)]
        for (title, method), by in found.items()
    ]
    return markdown([setting, "method", *(f"{rate:g}" for rate in rates)], rows)


def test_accuracy(facts: Facts) -> float:
    """The median of the last three epochs."""
    return float(np.median(facts["test_accuracy"][-3:]))


def curves(record: Record) -> str:
    """Figure 3: loss and test accuracy at every method's best rate for the training loss."""
    chosen = best(by_rate(record, figure3.late_loss))
    accuracies = by_rate(record, test_accuracy)
    rows = []
    for (start, method), (rate, values) in chosen.items():
        against = "" if method == "none" else ratio(values, chosen[start, "none"][1])
        reached = [f"{a:.1%}" for a in accuracies[start, method][rate]]
        rows.append(
            [start, method, f"{rate:g}", f"{np.median(values):.3f}", against, ", ".join(reached)]
        )
    return markdown(
        ["start", "method", "best rate", "training loss", "ratio to none [95 %]", "test accuracy"],
        rows,
    )


def geometry() -> str:
    """Medians over the seeds."""
    found: dict[str, list[Facts]] = {}
    for name, facts in stored("geometry").runs.items():
        found.setdefault(name.split("/")[0], []).append(facts)
    rows = []
    for title, some in found.items():
        spread, far, swept, gain, left = np.median([list(facts.values()) for facts in some], axis=0)
        figures = f"{spread:.1f}", f"{far:.2f}", f"{swept:.2f}", f"{gain:.3f}", f"{left:.0e}"
        rows.append([title, *figures])
    head = [
        "network",
        "log10 max/min of g",
        "max abs log λ",
        "ten sweeps",
        "gain/p",
        "ten sweeps leave",
    ]
    return markdown(head, rows)


def tables() -> dict[str, Callable[[], str]]:
    depths, early = (
        dict(sorted(by_rate(stored("figure2"), value).items(), key=lambda item: item[0][0]))
        for value in (figure2.epochs_to_target, lambda f: figure2.epochs_to_target(f, 0.7))
    )
    factors = by_rate(stored("figure5"), figure5.final_loss)
    network = stored("figure3")
    losses = by_rate(network, figure3.late_loss)
    starts = by_rate(stored("initialisations"), initialisations.final_loss)
    return {
        "figure 2": lambda: at_best(depths, "hidden layers", ".0f"),
        "figure 2, 70 %": lambda: at_best(early, "hidden layers", ".0f"),
        "figure 2, rates": lambda: at_rates(depths, "hidden layers", ".0f"),
        "figure 3": lambda: curves(network),
        "figure 3, rates": lambda: at_rates(losses, "start", ".2f"),
        "figure 5": lambda: at_best(factors, "compression", ".3f"),
        "figure 5, rates": lambda: at_rates(factors, "compression", ".3f"),
        "geometry": geometry,
        "initialisations": lambda: at_best(starts, "start", ".3g"),
    }


def filled(page: str) -> str:
    """The page with every table between its marks written anew."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        page = re.sub(
            re.escape(begin) + ".*?" + re.escape(end),
            lambda _, begin=begin, end=end, table=table: begin + table() + end,
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
