"""`rescale_onnx`: a model in memory or in a file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ..engine.report import RescaleReport
from ..errors import InvalidInputError
from .rescale import Inputs, rescale

__all__ = ["rescale_onnx"]


def rescale_onnx(
    model: ModelProto | str | PathLike[str],
    inputs: Inputs | None = None,
    *,
    output: str | PathLike[str] | None = None,
    **options: Any,
) -> RescaleReport:
    """Rescale an ONNX model; needs onnx, onnxruntime and SciPy, and no torch.

    Args:
        model: changed in place; or the name of a file, which is left as it is.
        inputs, options: as for `pathcond_native.onnx.rescale`.
        output: where the rescaled model of a file goes, in one step, as `pathcond rescale` writes
            it; may be the file itself.

    Returns:
        What was rescaled, what was not and why, and how far the outputs moved.

    Raises:
        InvalidInputError: also if the file cannot be read, or `output` is given without a file.
        OutputError: the output cannot be written.
        Everything that `pathcond_native.onnx.rescale` raises; nothing has then changed.
    """
    if isinstance(model, ModelProto):
        if output is not None:
            raise InvalidInputError("output: expected None, since the model is changed in place")
        return rescale(model, inputs, **options)
    if output is None:
        raise InvalidInputError("output: expected the name of a file to write")
    from ..files.atomic import check_writable
    from ..files.onnx_graph import OnnxGraph
    from ..files.save import save

    check_writable(Path(output))
    file = OnnxGraph(Path(model))
    file.inputs = inputs or {}
    report = file.rescale(**options)
    save(file, Path(output))
    return report
