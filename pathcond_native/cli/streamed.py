"""``rescale`` of checkpoints that need not fit the memory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from ..files.registry import is_factory
from ..files.request import Request
from ..memory import return_freed_blocks
from .exit_codes import UsageError
from .progress import Progress
from .solve import solver_options

if TYPE_CHECKING:
    from ..engine.report import RescaleReport

__all__ = ["applies", "rescale"]


def applies(arguments: argparse.Namespace) -> bool:
    """Whether the command line asks for it: by shards, or by saying so."""
    checkpoint: Path | None = arguments.checkpoint
    if checkpoint is not None:
        from ..files.shards import is_sharded  # needs torch, which an ONNX file does not

        if is_sharded(checkpoint):
            return True
    if arguments.stream and (checkpoint is None or checkpoint.suffix.lower() != ".safetensors"):
        raise UsageError("rescale: --stream goes with a --checkpoint of safetensors")
    return bool(arguments.stream)


def rescale(
    arguments: argparse.Namespace, request: Request
) -> tuple[RescaleReport, Path, list[str]]:
    """Rescale; returns the report, where the output is, and notes for the user."""
    if arguments.in_place:
        raise UsageError("rescale: shards are not overwritten; say where they go with -o")
    if arguments.report is not None:
        raise UsageError("rescale: there is no --report for what is not in memory at once")
    if not is_factory(request.model):
        raise InvalidInputError(
            f"{request.model}: only package.module:factory takes a --checkpoint"
        )
    from ..files.streamed import Streamed

    return_freed_blocks()
    source, output = Streamed(request), arguments.output
    if output.exists() and any(output.samefile(x) for x in (source.path, source.path.parent)):
        raise UsageError(f"rescale: {output} is the input; the output goes elsewhere")
    if not source.is_folder and output.suffix.lower() != ".safetensors":
        raise UsageError(
            "rescale: the output has the input's format; expected a name in .safetensors, "
            f"got {output}"
        )
    with Progress(source.stages) as progress:
        report = source.rescale(
            output,
            progress.stage,
            strength=arguments.strength,
            round_to=arguments.round_to,
            verify=arguments.verify,
            **solver_options(arguments),
        )
    return report, output, source.notes
