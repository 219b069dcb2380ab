"""``python -m benchmarks.families``: rescale every architecture of the catalogue of families.

Writes ``results/families.json`` and ``families.md`` after every model, and skips models that are
there already with nothing wrong: ``--fresh`` starts again, names (or parts of them) run those
models anew. The check is the one of the slow test in ``tests/model/test_model_families.py``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "families.json"
TESTS = HERE.parent / "tests" / "model"

Facts = dict[str, Any]

_LIBRARIES = ("transformers", "monai", "timm", "torchvision")
_HEADER = (
    "model",
    "parameters",
    "neurons",
    "idle",
    "pinned",
    "share",
    "float64 eval",
    "float64 train",
    "float32 eval",
    "float32 train",
    "seconds",
    "remark",
)
_NOTES = """\
Neurons are rescaled channels, idle those of them that no counted path goes through (the optimum
leaves them alone; the rescaling at random does not). Pinned channels are those that keep their
scale. Share: neurons among the channels that the mathematics allows, that is neurons and pinned
channels whose reason is not mathematical; a floor on it is asserted per family.

float64: largest change of an output, relative to its largest entry, under a rescaling of all
neurons at random (log2 of the factors normal). float32: the same at the optimum, by `rescale_` with
its own verification; seconds are those of `rescale_` without tracing, on one thread. eval, train:
evaluation and training mode. r marks what exceeds 1e-12 or 1e-5 and is rounding, which batch
statistics and depth amplify: in float64 a rescaling by powers of two leaves the outputs alone, in
float32 the change is at most ten times what moving every parameter by one rounding does. Batch norm
statistics and all affine parameters are random, inputs about as small as the architecture permits;
a wrong rescaling (neurons scaled only where they are made) was seen to move every output."""


def main() -> int:
    """Check what is missing and write the results; 1 if a model failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names of models to run anew")
    parser.add_argument("--fresh", action="store_true", help="run everything anew")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import torch

    families = importlib.import_module("families")
    checks = importlib.import_module("family_check")
    torch.set_num_threads(1)
    models: dict[str, Facts] = {} if options.fresh else read()["models"]
    entries = families.catalogue(*filter(importlib.util.find_spec, _LIBRARIES))
    models = {name: facts for name, facts in models.items() if name in entries}
    failed = 0
    for number, (name, entry) in enumerate(entries.items(), 1):
        wanted = any(part in name for part in options.names)
        if name in models and not wanted and not checks.problems(models[name]):
            continue
        try:
            facts = checks.check(entry)
        except Exception as error:
            failed += 1
            models.pop(name, None)
            print(f"{number}/{len(entries)} {name}: {type(error).__name__}: {error}", flush=True)
            continue
        models[name] = facts
        wrong = checks.problems(facts)
        failed += bool(wrong)
        print(f"{number}/{len(entries)} {name}: {'; '.join(wrong) or 'ok'}", flush=True)
        write({key: models[key] for key in entries if key in models}, families.FLOORS)
        gc.collect()
    write({key: models[key] for key in entries if key in models}, families.FLOORS)
    return min(failed, 1)


def read() -> dict[str, Any]:
    """The committed results."""
    if not RESULTS.exists():
        return {"models": {}}
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def write(models: dict[str, Facts], floors: dict[str, float]) -> None:
    libraries = [*_LIBRARIES, "torch", "numpy"]
    versions = {
        "Python": platform.python_version(),
        **{name: version(name) for name in libraries if importlib.util.find_spec(name)},
    }
    text = json.dumps({"versions": versions, "models": models}, indent=1) + "\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(render(versions, models, floors), encoding="utf-8")


def render(versions: dict[str, str], models: dict[str, Facts], floors: dict[str, float]) -> str:
    """The results as Markdown: families, then models, then the notes."""
    on = ", ".join(f"{name} {number}" for name, number in versions.items())
    return "\n\n".join(
        [
            "# Families of architectures",
            _table(*_families(models, floors)),
            _NOTES,
            _table(_HEADER, [_row(name, facts) for name, facts in models.items()]),
            f"{on}.\n",
        ]
    )


def _families(
    models: dict[str, Facts], floors: dict[str, float]
) -> tuple[tuple[str, ...], list[list[str]]]:
    header = ("family", "models", "neurons", "idle", "share", "floor", "float64", "float32")
    rows = []
    for family in sorted({facts["family"] for facts in models.values()}):
        members = [facts for facts in models.values() if facts["family"] == family]
        floor = floors[family]
        rows.append(
            [
                family,
                str(len(members)),
                f"{sum(facts['neurons'] for facts in members):,}",
                f"{sum(idle(facts) or 0 for facts in members):,}",
                _percent(share(members)),
                _percent(floor),
                *(_worst(members, dtype) for dtype in ("float64", "float32")),
            ]
        )
    return header, rows


def share(members: list[Facts]) -> float:
    """Rescaled channels as a share of those that the mathematics allows; nan if it allows none."""
    neurons = sum(facts["neurons"] for facts in members)
    possible = neurons + sum(sum(facts["gaps"].values()) for facts in members)
    return neurons / possible if possible else math.nan


def idle(facts: Facts) -> int | None:
    """Neurons that no counted path goes through, if that was determined."""
    number: int | None = facts.get("float32", {}).get("idle")
    return number


def _row(name: str, facts: Facts) -> list[str]:
    pinned = sum(facts["pinned"].values()) + sum(facts["gaps"].values())
    resting = idle(facts)
    seconds = facts.get("float32", {}).get("seconds")
    return [
        name,
        f"{facts['parameters']:,}",
        f"{facts['neurons']:,}",
        "" if resting is None else f"{resting:,}",
        f"{pinned:,}",
        _percent(share([facts])),
        *(
            _change(facts, dtype, mode)
            for dtype in ("float64", "float32")
            for mode in ("evaluation", "training")
        ),
        "" if seconds is None else f"{seconds:.2g}",
        _remark(facts),
    ]


def _remark(facts: Facts) -> str:
    because = facts.get("float32", {}).get("nothing_because")
    parts = [facts["remark"], because or "", "" if facts["neurons"] else "no neuron"]
    parts += [f"{channels:,} channels: {reason}" for reason, channels in facts["gaps"].items()]
    return "; ".join(filter(None, parts))


def _change(facts: Facts, dtype: str, mode: str) -> str:
    moved = facts.get(dtype, {}).get(mode)
    if moved is None:
        return ""
    beyond = moved > {"float64": 1e-12, "float32": 1e-5}[dtype]
    return f"{moved:.0e}" + (" r" if beyond else "")


def _worst(members: list[Facts], dtype: str) -> str:
    found = [
        (facts[dtype][mode], _change(facts, dtype, mode))
        for facts in members
        if dtype in facts
        for mode in ("evaluation", "training")
        if mode in facts[dtype]
    ]
    return max(found)[1] if found else ""


def _percent(x: float) -> str:
    return "" if math.isnan(x) else f"{math.floor(1000 * x) / 10:g} %"


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """Numbers to the right, the first and the last column of a table with remarks to the left."""
    table = [list(header), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    left = {0} | ({len(header) - 1} if header[-1] == "remark" else set())

    def line(row: list[str]) -> str:
        cells = [
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * width if k in left else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return "\n".join([line(table[0]), line(rule), *(line(row) for row in table[1:])])


if __name__ == "__main__":
    sys.exit(main())
