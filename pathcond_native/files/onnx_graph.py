"""ONNX files: the graph stays, float initialisers get new values."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, external_data_helper

from ..engine.report import RescaleReport
from ..engine.stats import Stats
from ..errors import InvalidInputError, VerificationError
from ..onnx import rescale, stats
from ..onnx.rescale import Inputs
from .input_spec import parsed
from .request import Request

__all__ = ["OnnxGraph", "read"]

_LARGEST = 2**31 - 1  # bytes that protobuf can write


def read(request: Request) -> OnnxGraph:
    """Load an ONNX file; the shapes asked for are those of its inputs, in order."""
    graph = OnnxGraph(Path(request.model))
    graph.inputs = _shapes(graph.model, request.inputs)
    return graph


class OnnxGraph:
    """An ONNX file; where its weights are in external data, so are those of what it writes."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self.notes: list[str] = []
        self.inputs: Inputs = {}
        self.model, self._external = _loaded(path)
        self._location = ""

    def rescale(self, **options: Any) -> RescaleReport:
        """Rescale the model in memory."""
        return rescale(self.model, self.inputs, **options)

    def stats(self) -> Stats:
        """Counts and spreads of the model."""
        return stats(self.model, self.inputs)

    def beside(self, output: Path) -> list[tuple[Path, bytes]]:
        """The external data under a name of its own, so that old files go on to fit each other."""
        content = b"".join(x.raw_data for x in self._external_tensors(self.model))
        if not content:
            return []
        digest = hashlib.sha256(content).hexdigest()[:12]
        self._location = f"{output.stem}.{digest}.data"
        self.notes.append(f"the weights are in {self._location}, which belongs to {output.name}")
        return [(output.resolve().with_name(self._location), content)]

    def write(self, stream: IO[bytes]) -> None:
        """Write the graph, with the weights it has now or where they are."""
        if not self._location:
            stream.write(self.model.SerializeToString())
            return
        copy = ModelProto()
        copy.CopyFrom(self.model)
        offset = 0
        for tensor in self._external_tensors(copy):
            size = len(tensor.raw_data)
            external_data_helper.set_external_data(tensor, self._location, offset, size)
            tensor.ClearField("raw_data")
            offset += size
        stream.write(copy.SerializeToString())

    def check(self, written: Path) -> None:
        """Read the written file: it is the model."""
        found, _ = _loaded(written)
        if found.SerializeToString(deterministic=True) != self.model.SerializeToString(
            deterministic=True
        ):
            raise VerificationError("the file that was written does not read back as it should")

    def _external_tensors(self, model: ModelProto) -> list[TensorProto]:
        return [x for x in model.graph.initializer if x.name in self._external]


def _loaded(path: Path) -> tuple[ModelProto, set[str]]:
    """The model with all its data, and the initialisers that came from other files."""
    try:
        model = onnx.load(path, load_external_data=False)
        external = {
            x.name for x in model.graph.initializer if x.data_location == TensorProto.EXTERNAL
        }
        external_data_helper.load_external_data_for_model(model, str(path.resolve().parent))
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        raise InvalidInputError(
            f"{path}: it is no ONNX file, or a damaged one ({type(error).__name__}: {first})"
        ) from error
    if not model.graph.node:
        raise InvalidInputError(f"{path}: it is no ONNX file, or a damaged one (it has no nodes)")
    if model.ByteSize() > _LARGEST:
        raise InvalidInputError(f"{path}: models of 2 GiB and more are not supported")
    return model, external


def _shapes(model: ModelProto, specs: tuple[str, ...]) -> dict[str, list[int]]:
    """Shapes by the names of the inputs, which are taken in order."""
    held = {x.name for x in model.graph.initializer}
    inputs = [x for x in model.graph.input if x.name not in held]
    if len(specs) > len(inputs):
        raise InvalidInputError(
            f"--input: the model has {len(inputs)} inputs, got {len(specs)} specifications"
        )
    found = {}
    for x, spec in zip(inputs, specs, strict=False):
        shape, dtype = parsed(spec)
        own = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)).name
        if dtype not in (None, own):
            raise InvalidInputError(f"--input: '{x.name}' is of dtype {own}, got {spec!r}")
        found[x.name] = shape
    return found
