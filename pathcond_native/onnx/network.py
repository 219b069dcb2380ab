"""An ONNX graph as a `Program`: shapes and constants known, float initialisers as parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from ..engine.program import ParameterInfo, Program, Step, Value
from ..errors import InvalidInputError, TraceError
from .nodes import Operators, arguments, captured
from .running import Observer, drawn

__all__ = ["Network", "network"]

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_LARGEST_CONSTANT = 1 << 22  # entries; what is larger is not computed ahead
# What these operators take is no weight: statistics, bounds, factors of a size.
_SETTINGS = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Dropout": (1,),
    "Pad": (2,),
    "Resize": (1, 2),
    "Upsample": (1,),
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
}


@dataclass(frozen=True, eq=False)
class Network:
    """A model, its program, and the initialisers behind the program's parameters."""

    model: ModelProto
    program: Program
    tensors: tuple[TensorProto, ...]
    """Initialisers of `model`, as `program.parameters` lists them."""
    operators: Operators
    values: dict[str, Value]
    """By name; names of local functions that were inlined are new."""
    inputs: dict[str, Value]
    """By name; dimensions that the model leaves open are filled in."""
    open_batch: frozenset[str]
    """The inputs of which the model leaves the size of the first axis open."""

    def array(self, number: int) -> npt.NDArray[Any]:
        """The values of a parameter."""
        return np.asarray(numpy_helper.to_array(self.tensors[number]))


def network(model: ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> Network:
    """Read the graph of a checked model, which is not changed.

    Args:
        model: with all data in memory.
        shapes: of inputs. Where they are not given, a first axis of open size is 1.

    Raises:
        InvalidInputError: the shape of an input is neither known nor given, or is contradicted.
        TraceError: the shape of some value cannot be inferred.
    """
    return _Reader(model, dict(shapes or {})).network()


class _Reader:
    def __init__(self, model: ModelProto, shapes: dict[str, Sequence[int]]) -> None:
        self.model = model
        self.inlined = _inlined(model)
        self.graph = self.inlined.graph
        self.operators = Operators(self.inlined)
        self.shapes = shapes
        self.values: dict[str, Value] = {}
        self.constants: dict[int, npt.NDArray[Any]] = {}
        self.static: set[int] = set()

    def network(self) -> Network:
        inputs = self._inputs()
        tensors, parameters = self._initialisers()
        steps = [step for node in self.graph.node for step in self._step(node)]
        outputs = [self.values[x.name] for x in self.graph.output if x.name in self.values]
        program = Program(
            parameters=parameters,
            parameter_of={self.values[x.name].index: n for n, x in enumerate(tensors)},
            buffer_of={},
            constants=self.constants,
            inputs=tuple(self.values[name] for name in inputs),
            steps=tuple(steps),
            outputs=tuple(outputs),
            states=(),
            aliases=tuple(range(len(tensors))),
            entangled=frozenset(),
            static=frozenset(self.static),
        )
        named = {name: self.values[name] for name in inputs}
        batched = frozenset(x.name for x in self.graph.input if x.name in named and _is_open(x))
        return Network(self.model, program, tensors, self.operators, self.values, named, batched)

    def _inputs(self) -> list[str]:
        held = {x.name for x in self.graph.initializer}
        names = [x.name for x in self.graph.input if x.name not in held]
        unknown = [name for name in self.shapes if name not in names]
        if unknown:
            raise InvalidInputError(
                f"inputs: the model has no input '{unknown[0]}'; its inputs are {names}"
            )
        for x in self.graph.input:
            if x.name in held:
                continue
            if not x.type.HasField("tensor_type"):
                raise TraceError(f"input '{x.name}' is no tensor")
            kind = x.type.tensor_type
            shape = _input_shape(x.name, kind, self.shapes.get(x.name))
            self._place(x.name, shape, kind.elem_type)
        return names

    def _initialisers(self) -> tuple[tuple[TensorProto, ...], tuple[ParameterInfo, ...]]:
        if self.graph.sparse_initializer:
            raise TraceError("sparse initialisers are not supported")
        settings = {
            node.input[i]
            for node in self.graph.node
            for i in _SETTINGS.get(node.op_type, ())
            if i < len(node.input)
        }
        uses = Counter(name for node in self.graph.node for name in node.input)
        weights, infos, offset = [], [], 0
        for x in self.graph.initializer:
            value = self._place(x.name, tuple(x.dims), x.data_type)
            self.static.add(value.index)
            # A number, as exporters write factors and offsets, is no weight. Zeros that several
            # layers share, as exporters have them share equal tensors, need no scaling.
            weight = x.data_type in _FLOATS and x.dims and x.name not in settings
            if weight and not (uses[x.name] > 1 and not numpy_helper.to_array(x).any()):
                size = int(np.prod(x.dims, dtype=np.int64))
                infos.append(ParameterInfo(x.name, tuple(x.dims), offset, size))
                weights.append(x.name)
                offset += size
            else:
                self.constants[value.index] = numpy_helper.to_array(x)
        own = {x.name: x for x in self.model.graph.initializer}
        return tuple(own[name] for name in weights), tuple(infos)

    def _place(self, name: str, shape: tuple[int, ...], elem_type: int) -> Value:
        dtype = helper.tensor_dtype_to_np_dtype(elem_type)
        self.values[name] = Value(len(self.values), shape, dtype)
        return self.values[name]

    def _step(self, node: NodeProto) -> Iterator[Step]:
        operands = [self.values.get(name) for name in node.input]
        missing = [n for n in node.input if n and n not in self.values]
        if missing:
            raise TraceError(f"{_where(node)} takes '{missing[0]}', which is no tensor")
        known = [None if v is None else self.constants.get(v.index) for v in operands]
        outer = [self.values[name] for name in captured(node) if name in self.values]
        types = self._types(node, operands, known)
        outputs = tuple(self._place(name, *types[name]) for name in node.output if name)
        held = [v for v in (*operands, *outer) if v is not None]
        random = self.operators.is_random(node)
        if not random and all(v.index in self.static for v in held):
            self.static.update(v.index for v in outputs)
        if self._fold(node, operands, known, outputs, bool(outer) or random):
            return
        found = arguments(node, self.operators.schema(node), operands, known)
        if outer:
            found["captured"] = outer
        name = f"{node.domain or 'onnx'}.{node.op_type}"
        yield Step(node, name, _where(node), found, outputs)

    def _types(
        self, node: NodeProto, operands: list[Value | None], known: list[npt.NDArray[Any] | None]
    ) -> dict[str, tuple[tuple[int, ...], int]]:
        """Shape and element type of every output."""
        kinds = {
            name: helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(v.dtype), list(v.shape)
            )
            for name, v in zip(node.input, operands, strict=True)
            if v is not None
        }
        data = {
            name: numpy_helper.from_array(x)
            for name, x in zip(node.input, known, strict=True)
            if x is not None and x.size <= 1 << 16
        }
        inferred = self.operators.infer(node, kinds, data)
        found = {}
        for name in node.output:
            if not name:
                continue
            shape = _sizes(inferred.get(name))
            if shape is not None:
                found[name] = shape, inferred[name].tensor_type.elem_type
            elif name in self._measured:
                found[name] = self._measured[name]
            else:
                raise TraceError(
                    f"the shape of '{name}', which {_where(node)} makes, can neither be inferred "
                    "nor, by onnxruntime, be measured"
                )
        return found

    @cached_property
    def _measured(self) -> dict[str, tuple[tuple[int, ...], int]]:
        """Shapes and element types of all values, as onnxruntime makes them of random inputs.

        For operators that onnx does not know, or of which it does not know enough.
        """
        twin = ModelProto()
        twin.CopyFrom(self.inlined)
        names = [name for node in twin.graph.node for name in node.output if name]
        del twin.graph.output[:]
        for name in names:
            twin.graph.output.add(name=name)
        held = {x.name for x in twin.graph.initializer}
        names = [x.name for x in twin.graph.input if x.name not in held]
        inputs = {name: self.values[name] for name in names}
        try:
            outputs = Observer({"": drawn(inputs)})(twin.SerializeToString())[""]
        except (InvalidInputError, ModuleNotFoundError):
            return {}
        return {
            name: (x.shape, helper.np_dtype_to_tensor_dtype(x.dtype))
            for name, x in outputs.items()
            if isinstance(x, np.ndarray)
        }

    def _fold(
        self,
        node: NodeProto,
        operands: list[Value | None],
        known: list[npt.NDArray[Any] | None],
        outputs: tuple[Value, ...],
        never: bool,
    ) -> bool:
        """Compute what constants and shapes alone decide, such as the target of a reshape."""
        if never or any(int(np.prod(v.shape)) > _LARGEST_CONSTANT for v in outputs):
            return False
        if node.op_type == "Shape" and operands[0] is not None:
            known = [np.broadcast_to(np.zeros((), operands[0].dtype), operands[0].shape)]
        elif any(v is not None and x is None for v, x in zip(operands, known, strict=True)):
            return False
        try:
            results = self.operators.run(node, known)
        except Exception:  # it stays a step, of which nothing is known
            return False
        for value, x in zip(outputs, results, strict=False):
            self.static.add(value.index)
            self.constants[value.index] = np.asarray(x)
        return True


def _inlined(model: ModelProto) -> ModelProto:
    return inline_local_functions(model) if model.functions else model


def _where(node: NodeProto) -> str:
    return node.name or f"the {node.op_type} that makes '{node.output[0]}'"


def _is_open(x: ValueInfoProto) -> bool:
    dims = x.type.tensor_type.shape.dim
    return bool(dims) and not dims[0].HasField("dim_value")


def _input_shape(name: str, kind: TypeProto.Tensor, given: Sequence[int] | None) -> tuple[int, ...]:
    dims = [x.dim_value if x.HasField("dim_value") else None for x in kind.shape.dim]
    if given is not None:
        fits = len(given) == len(dims) and all(
            d is None or d == n for d, n in zip(dims, given, strict=True)
        )
        if kind.HasField("shape") and not fits:
            shown = ["?" if d is None else d for d in dims]
            raise InvalidInputError(f"inputs: input '{name}' has shape {shown}, got {list(given)}")
        return tuple(int(n) for n in given)
    if dims and dims[0] is None:
        dims[0] = 1
    if not kind.HasField("shape") or None in dims:
        raise InvalidInputError(
            f"inputs: the model leaves the shape of its input '{name}' open; give one, such as "
            "--input 1x3x224x224 (or inputs={...} in Python)"
        )
    return tuple(d for d in dims if d is not None)


def _sizes(kind: TypeProto | None) -> tuple[int, ...] | None:
    if kind is None or not kind.HasField("tensor_type"):
        return None
    if not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(x.dim_value for x in dims) if all(x.HasField("dim_value") for x in dims) else None
