"""``python -m benchmarks.paper.evidence``: writes the tables of ``benchmarks/results/EVIDENCE.md``.

Every method is compared with no rescaling, seed by seed, each at its own best learning rate (the
smallest median over the seeds) and at equal rates. Intervals are Student's at 95 % for the mean of
the logarithm of the ratio over the seeds: of three, t = 4.30 and nothing is said about the choice
of the rate, which was made on the same seeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import numpy as np
from scipy.stats import t

from . import figure2, figure3, figure5, initialisations
from .methods import METHODS
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
        f"; {who} fails {np.isinf(row).sum()} of {len(row)}"
        for row, who in zip(pairs, ("it", "none"), strict=True)
        if np.isinf(row).any()
    )
    if finite.shape[1] < 2:
        return missing.removeprefix("; ")
    mean, low, high = interval(finite[0] / finite[1])
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]{missing}"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] + ["---:"] * (len(lines[0]) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison(found: Table, setting: str, form: str) -> str:
    """Per setting and method: medians at every rate, the best one bold, and its ratio to none's."""
    chosen = best(found)
    rates = sorted({rate for by in found.values() for rate in by})
    rows = []
    for (title, method), by in found.items():
        rate, values = chosen[title, method]
        medians = {r: format(np.median(by[r]), form) if r in by else "" for r in rates}
        medians[rate] = f"**{medians[rate]}**"
        against = "" if method == "none" else ratio(values, chosen[title, "none"][1])
        rows.append([title, method, *medians.values(), against])
    head = [setting, "method", *(f"{rate:g}" for rate in rates), "ratio to none [95 %]"]
    return markdown(head, rows)


def equal_rates(found: Table) -> str:
    """Per method and rate: the mean ratio to none over settings and seeds where both succeeded."""
    rates = sorted({rate for by in found.values() for rate in by})
    rows = []
    for method in dict.fromkeys(m for _, m in found if m != "none"):
        cells = []
        for rate in rates:
            pairs = np.hstack(
                [
                    np.array([by[rate], found[title, "none"][rate]])
                    for (title, m), by in found.items()
                    if m == method and rate in by
                ]
            )
            both = pairs[:, np.isfinite(pairs).all(0)]
            mean = np.exp(np.log(both[0] / both[1]).mean()) if both.size else np.nan
            reached = np.isfinite(pairs).sum(1)
            cells.append(f"{mean:.2f} ({reached[0]} and {reached[1]} of {pairs.shape[1]})")
        rows.append([method, *cells])
    return markdown(["method", *(f"{rate:g}" for rate in rates)], rows)


def pooled(experiments: dict[str, Table]) -> str:
    """Per experiment: ratios to none, each at its best rate, over all settings and seeds.

    Settings in which none fails with a seed are left out, and seeds with which the method does.
    """
    methods = METHODS[1:]
    rows = []
    for title, found in experiments.items():
        chosen = best(found)
        whole = [
            setting
            for setting in dict.fromkeys(s for s, _ in chosen)
            if all((setting, method) in chosen for method in METHODS)
            and np.isfinite(chosen[setting, "none"][1]).all()
        ]
        cells = []
        for method in methods:
            values, none = (
                np.concatenate([chosen[setting, m][1] for setting in whole])
                for m in (method, "none")
            )
            ratios = (values / none)[np.isfinite(values)]
            mean, low, high = interval(ratios)
            cells.append(f"{mean:.2f} [{low:.2f}, {high:.2f}], n = {len(ratios)}")
        rows.append([title, *cells])
    return markdown(["ratio to none", *methods], rows)


def test_accuracy(facts: Facts) -> float:
    """The median of the last three epochs."""
    return float(np.median(facts["test_accuracy"][-3:]))


def tested(curves: Table, accuracies: Table) -> str:
    """Figure 3: test accuracy at the rate that is best for the training loss."""
    rows = []
    for (start, method), (rate, _) in best(curves).items():
        reached = accuracies[start, method][rate]
        rows.append([start, method, f"{rate:g}", *(f"{accuracy:.1%}" for accuracy in reached)])
    return markdown(["start", "method", "rate", *(f"seed {s}" for s in figure3.SEEDS)], rows)


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


def complete(found: Table) -> Table:
    """What has all its rates and seeds, in the order of the settings."""
    most = max(len(by) for by in found.values())
    whole = {
        key: by
        for key, by in found.items()
        if len(by) == most and all(len(values) == 3 for values in by.values())
    }
    settings = list(dict.fromkeys(title for title, _ in whole))
    if settings[0] != "default":
        settings.sort(key=float)
    return {k: whole[k] for s in settings for k in whole if k[0] == s}


def tables() -> dict[str, str]:
    """Every table by its name in the page."""

    def early(facts: Facts) -> float:
        return figure2.epochs_to_target(facts, 0.7)

    depths, autoencoders, network = stored("figure2"), stored("figure5"), stored("figure3")
    starts = by_rate(stored("initialisations"), initialisations.final_loss)
    families = {
        "images": initialisations.IMAGES,
        "curve": initialisations.CURVE,
        "scale": initialisations.ALPHAS,
    }
    late = complete(by_rate(depths, figure2.epochs_to_target))
    soon = complete(by_rate(depths, early))
    curves = complete(by_rate(network, figure3.late_loss))
    losses = complete(by_rate(autoencoders, figure5.final_loss))
    return {
        "geometry": geometry(),
        "pooled": pooled(
            {
                "figure 2, epochs to 85 %": late,
                "figure 2, epochs to 70 %": soon,
                "figure 3, training loss": curves,
                "figure 5, training loss": losses,
            }
        ),
        "figure 2": comparison(late, "hidden layers", ".0f"),
        "figure 2, 70 %": comparison(soon, "hidden layers", ".0f"),
        "figure 2, equal rates": equal_rates(late),
        "figure 2, 70 %, equal rates": equal_rates(soon),
        "figure 3": comparison(curves, "start", ".2f"),
        "figure 3, test": tested(curves, by_rate(network, test_accuracy)),
        "figure 5": comparison(losses, "compression", ".3f"),
        "figure 5, equal rates": equal_rates(losses),
        **{
            name: comparison({k: v for k, v in starts.items() if k[0] in family}, "start", ".2g")
            for name, family in families.items()
        },
    }


def filled(page: str) -> str:
    """The page with every table between its marks written anew."""
    for name, table in tables().items():
        mark, end = f"<!-- {name} -->", "<!-- end -->"
        page = re.sub(
            f"{re.escape(mark)}.*?{end}",
            lambda _, text=f"{mark}\n{table}\n{end}": text,
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
