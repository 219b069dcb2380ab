"""Results of an experiment: kept as they come in, so that an interrupted run goes on."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

RESULTS = Path(__file__).parents[1] / "results" / "paper"

Facts = dict[str, Any]


def arguments(description: str | None, **folders: str) -> argparse.Namespace:
    """The options that all experiments share, and one per folder that this one can be given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few small runs, not written")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--plot", action="store_true", help="only draw the results that are there")
    for name, meaning in folders.items():
        parser.add_argument(f"--{name}", metavar="FOLDER", help=meaning)
    return parser.parse_args()


class Record:
    """Runs by name in one JSON file; `None` for a file keeps them in memory."""

    def __init__(self, path: Path | None, settings: Facts) -> None:
        self._path = path
        self.settings = settings
        self.runs: dict[str, Facts] = {}
        if path is not None and path.exists():
            stored = json.loads(path.read_text())
            if stored["settings"] == json.loads(json.dumps(settings)):
                self.runs = stored["runs"]

    @classmethod
    def open(cls, name: str, settings: Facts, options: argparse.Namespace) -> Record:
        """The record of an experiment, with what it holds already under the same settings."""
        path = RESULTS / f"{name}.json"
        if options.fresh:
            path.unlink(missing_ok=True)
        return cls(None if options.quick else path, settings)

    def run(self, names: Iterable[str], experiment: Callable[[str], Facts], title: str) -> None:
        """Run what is not there yet, and write after every run."""
        names = list(names)
        for name in tqdm([n for n in names if n not in self.runs], desc=title):
            self.runs[name] = experiment(name)
            self._write()
        self.runs = {name: self.runs[name] for name in names}
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        versions = {x: version(x) for x in ("torch", "numpy", "pathcond-native")}
        content = {
            "versions": {"python": platform.python_version(), **versions},
            "settings": self.settings,
            "runs": self.runs,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(self._path)


@contextmanager
def canvas(panels: int, path: Path | None) -> Iterator[list[Any]]:
    """Axes side by side; saved at the end, unless there is no path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(3.4 * panels + 1, 3.8), squeeze=False)
    try:
        yield list(axes[0])
        figure.tight_layout()
        if path is not None:
            figure.savefig(path, dpi=110)
    finally:
        pyplot.close(figure)


def picture(name: str, options: argparse.Namespace) -> Path | None:
    """Where an experiment's plot goes; nowhere for a quick run."""
    return None if options.quick else RESULTS / f"{name}.png"
