"""``stats``: what a model in a file looks like to the rescaling."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..files.registry import open_model
from .exit_codes import OK
from .output import print_json, say
from .progress import Progress
from .rescale import request_of

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print the counts as a table or JSON; return the exit code 0."""
    with Progress(2) as progress:
        with progress.stage("reading the model"):
            file = open_model(request_of(arguments))
        with progress.stage("tracing, counting"):
            stats = file.stats()
    if arguments.json:
        print_json(asdict(stats))
    else:
        say(str(stats))
    return OK
