"""``rescale``: a model from a file, rescaled, into a file of the same format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..engine.page import page
from ..engine.picture import figure_class
from ..engine.report import RescaleReport
from ..files.atomic import check_writable, write_atomically
from ..files.registry import ModelFile, open_model, same_format
from ..files.request import Request
from ..files.save import save
from . import streamed
from .exit_codes import OK, UsageError
from .output import print_json, say
from .progress import Progress
from .solve import solver_options

__all__ = ["request_of", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Rescale, write, print the report; return the exit code 0."""
    if arguments.report is not None:
        figure_class()  # pictures need a package, which is better told now
        if arguments.report.suffix not in (".html", ".htm"):
            raise UsageError(f"rescale: --report expects a name in .html, got {arguments.report}")
    into_files = streamed.rescale if streamed.applies(arguments) else _rescale
    report, output, notes = into_files(arguments, request_of(arguments))
    for note in notes:
        print(f"pathcond: note: {note}", file=sys.stderr)
    if arguments.json:
        print_json({**facts(report), "output": str(output), "notes": notes})
    else:
        say(f"{report}\n\nwritten: {output}")
    return OK


def _rescale(
    arguments: argparse.Namespace, request: Request
) -> tuple[RescaleReport, Path, list[str]]:
    """Rescale in memory; returns the report, where the output is, and notes for the user."""
    with Progress(3) as progress:
        with progress.stage("reading the model"):
            file = open_model(request)
        output = _output(arguments, file)
        for path in filter(None, (output, arguments.report)):
            check_writable(path)
        with progress.stage("tracing, rescaling, verifying"):
            report = file.rescale(
                strength=arguments.strength,
                round_to=arguments.round_to,
                verify=arguments.verify,
                spread=arguments.report is not None,
                **solver_options(arguments),
            )
        with progress.stage("writing, reading back"):
            save(file, output)
            if arguments.report is not None:
                text = page(report, f"{arguments.model}, rescaled").encode()
                write_atomically(arguments.report, lambda stream: stream.write(text))
    return report, output, file.notes


def request_of(arguments: argparse.Namespace) -> Request:
    """The model that the command line names."""
    return Request(arguments.model, arguments.checkpoint, arguments.key, tuple(arguments.input))


def facts(report: RescaleReport) -> dict[str, Any]:
    """A report as plain data."""
    check, result = report.verification, report.result
    return {
        "criterion": report.criterion,
        "nothing_because": report.nothing_because,
        "neurons": report.neurons,
        "objective": report.objective,
        "initial_objective": report.initial_objective,
        "gradient_norm": report.gradient_norm,
        "status": None if result is None else result.status,
        "sweeps": None if result is None else result.sweeps,
        "verification": {
            "runs": check.runs,
            "max_relative_error": check.max_relative_error,
            "proven_in_float64": check.proven_in_float64,
        },
        "layers": [
            {
                "name": group.name,
                "neurons": group.size,
                "smallest_scale": group.smallest_scale,
                "largest_scale": group.largest_scale,
            }
            for group in report.groups
        ],
        "pinned": [vars(x) for x in report.pinned],
        "unsupported": [vars(x) for x in report.unsupported],
        "seconds": report.seconds,
    }


def _output(arguments: argparse.Namespace, file: ModelFile) -> Path:
    """Where to write; the input only if that was said."""
    if file.path is None:
        raise UsageError("rescale: a factory needs a --checkpoint, whose format the output takes")
    if arguments.in_place:
        return file.path
    output: Path = arguments.output
    if not same_format(output, file.path):
        raise UsageError(
            f"rescale: the output has the input's format; expected a name in {file.path.suffix}, "
            f"got {output}"
        )
    if output.exists() and output.samefile(file.path):
        raise UsageError(f"rescale: {output} is the input; say --in-place to overwrite it")
    return output
