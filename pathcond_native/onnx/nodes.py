"""Nodes of ONNX graphs one at a time: their arguments, the types they infer, their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    TypeProto,
    defs,
    helper,
    numpy_helper,
    shape_inference,
)
from onnx.reference import ReferenceEvaluator

from ..engine.program import Value

__all__ = ["Operators", "arguments", "captured"]

_RANDOM = {"Bernoulli", "Multinomial"}
# Operands that say what an operator does, not what it does it to.
_CONSTANTS = {
    *("axes", "constant_value", "depth", "ends", "indices", "k", "max", "min", "pads", "ratio"),
    *("repeats", "roi", "scales", "shape", "sizes", "split", "starts", "steps", "training_mode"),
}


class Operators:
    """What the operators of one model mean: their versions follow from its opsets."""

    def __init__(self, model: ModelProto) -> None:
        self._opsets = list(model.opset_import)
        self._version = {x.domain or "ai.onnx": x.version for x in self._opsets}
        self._ir_version = model.ir_version

    def schema(self, node: NodeProto) -> defs.OpSchema | None:
        """The definition of a node's operator, if onnx has one."""
        domain = node.domain or "ai.onnx"
        try:
            version = self._version.get(domain, 1)
            return defs.get_schema(node.op_type, version, "" if domain == "ai.onnx" else domain)
        except defs.SchemaError:
            return None

    def is_random(self, node: NodeProto) -> bool:
        """Whether its outputs are drawn."""
        return node.op_type in _RANDOM or node.op_type.startswith("Random")

    def infer(
        self, node: NodeProto, types: dict[str, TypeProto], data: dict[str, TensorProto]
    ) -> dict[str, TypeProto]:
        """Types of a node's outputs; those that cannot be inferred are left out."""
        schema = self.schema(node)
        if schema is None:
            return {}
        try:
            found: dict[str, TypeProto] = shape_inference.infer_node_outputs(
                schema,
                node,
                types,
                data,
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )
        except (shape_inference.InferenceError, KeyError):  # old versions: operands left out
            return {}
        return found

    def run(
        self, node: NodeProto, operands: Sequence[npt.NDArray[Any] | None]
    ) -> list[npt.NDArray[Any]]:
        """What a node computes, by the reference implementation; dtypes are not checked."""
        names = [f"x{i}" if name else "" for i, name in enumerate(node.input)]
        alone = NodeProto()
        alone.CopyFrom(node)
        alone.ClearField("input")
        alone.input.extend(names)
        inputs = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names if n]
        outputs = [
            helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.output if n
        ]
        graph = helper.make_graph([alone], "node", inputs, outputs)
        feeds = {n: x for n, x in zip(names, operands, strict=True) if n and x is not None}
        newest = [helper.make_opsetid("", defs.onnx_opset_version())]
        with np.errstate(all="ignore"):
            try:
                return self._evaluated(graph, self._opsets, feeds)
            except RuntimeError:  # old versions of some operators are not implemented
                return self._evaluated(graph, newest, feeds)

    def _evaluated(
        self, graph: GraphProto, opsets: list[OperatorSetIdProto], feeds: dict[str, Any]
    ) -> list[npt.NDArray[Any]]:
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self._ir_version)
        return list(ReferenceEvaluator(model).run(None, feeds))


def arguments(
    node: NodeProto,
    schema: defs.OpSchema | None,
    operands: Sequence[Value | None],
    known: Sequence[npt.NDArray[Any] | None],
) -> dict[str, Any]:
    """Operands by the names of the operator's definition, and attributes, defaults included.

    A constant that says what the operator does is there as an array; the operands of a variadic
    operator are a list.
    """
    found: dict[str, Any] = {}
    if schema is not None:
        for name, attribute in schema.attributes.items():
            default = attribute.default_value
            unset = default.type == AttributeProto.UNDEFINED
            found[name] = None if unset else _plain(helper.get_attribute_value(default))
    found |= {x.name: _plain(helper.get_attribute_value(x)) for x in node.attribute}
    formal = [] if schema is None else list(schema.inputs)
    variadic = bool(formal) and formal[-1].option == defs.OpSchema.FormalParameterOption.Variadic
    for i, parameter in enumerate(formal):
        if variadic and i == len(formal) - 1:
            found[parameter.name] = list(operands[i:])
        elif i >= len(operands) or operands[i] is None:
            found[parameter.name] = None
        elif parameter.name in _CONSTANTS and known[i] is not None:
            found[parameter.name] = known[i]
        else:
            found[parameter.name] = operands[i]
    if schema is None:
        found["operands"] = list(operands)
    return found


def captured(node: NodeProto) -> list[str]:
    """Names that the subgraphs of a node (branches, bodies of loops) may take from outside."""
    names: list[str] = []
    for graph in _subgraphs(node):
        for inner in graph.node:
            names += [*inner.input, *captured(inner)]
        names += [x.name for x in graph.output]
    return list(dict.fromkeys(name for name in names if name))


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _plain(x: Any) -> Any:
    if isinstance(x, bytes):
        return x.decode()
    return numpy_helper.to_array(x) if isinstance(x, TensorProto) else x
