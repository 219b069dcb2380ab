"""A model's operator graph, captured through torch.export."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind

from ..engine.graph import RescalingGraph
from ..engine.groups import Unsupported, partition
from ..errors import TraceError
from ..memory import exhaustion_told
from .capture import capture, operator_name
from .inputs import ExampleInputs, as_call, check_call, check_model, unwrapped
from .interruptions import Interruptions
from .program import ParameterInfo, Program, Step, Value, constant
from .scales import Scales
from .state import kept
from .training import differs_in_training

__all__ = ["trace"]

# What they yield depends on the shape of their operand, not on its values.
_SHAPED = {f"aten.{name}" for name in ("zero", "zeros_like", "ones_like", "full_like")} | {
    f"aten.{name}" for name in ("new_zeros", "new_ones", "new_full")
}
_INDEX_OF = {
    "aten.index": "indices",
    "aten.index_select": "index",
    "aten.embedding": "indices",
}


@exhaustion_told("trace")
def trace(model: nn.Module, example_inputs: ExampleInputs) -> RescalingGraph:
    """Capture a model's operators and find its rescalable neurons.

    The model is traced in evaluation mode, and in training mode too where that may be another
    function (auxiliary heads, say): a neuron is what both allow. It is left as it was: parameters,
    buffers, gradients and the training flag of every module.

    Args:
        model: any module that `torch.export` can capture.
        example_inputs: a tensor, a tuple or list of positional arguments, or a dict of keyword
            arguments of ``model.forward``. Only shapes and dtypes matter.

    Returns:
        The graph; it holds no parameter values and can be reused while they change. What decides
        which entries meet is part of it: integer and boolean buffers, such as a table of indices,
        and attributes that `forward` reads. Trace again when those change.

    Raises:
        InvalidInputError: `model` or `example_inputs` is unusable.
        TraceError: the model could not be captured; the message says what to do.
    """
    model = unwrapped(model)
    check_model(model)
    args, kwargs = call = as_call(example_inputs)
    check_call(model, call)
    with Interruptions() as interruptions, kept(model), interruptions.allowed():
        return _traced(model, args, kwargs)


def _traced(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RescalingGraph:
    program = _Reader(model, capture(model, args, kwargs)).program()
    if not differs_in_training(model, program):
        return RescalingGraph(program, partition(Scales, program))
    try:
        exported = capture(model, args, kwargs, training=True)
    except TraceError as error:
        untraced = Unsupported("training mode", "forward()", str(error))
        return RescalingGraph(program, partition(Scales, program, [], [untraced]))
    return RescalingGraph(program, partition(Scales, program, [_Reader(model, exported).program()]))


class _Reader:
    """Translates an exported program into a `Program`."""

    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram) -> None:
        self.model = model
        self.exported = exported
        self.values = 0
        self.value_of: dict[fx.Node, Any] = {}
        self.static: set[int] = set()

    def program(self) -> Program:
        parameters, index_of = _parameters(self.model)
        named = dict(self.model.named_parameters(remove_duplicate=False))
        buffers = dict(self.model.named_buffers(remove_duplicate=False))
        signature = self.exported.graph_signature
        nodes = list(self.exported.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        parameter_of: dict[int, int] = {}
        buffer_of: dict[int, str] = {}
        constants: dict[int, Tensor] = {}
        inputs: list[Value] = []
        for node, spec in zip(placeholders, signature.input_specs, strict=True):
            value = self._place(node)
            if not isinstance(value, Value):
                continue
            if spec.kind is InputKind.USER_INPUT:
                inputs.append(value)
                continue
            self.static.add(value.index)
            assert spec.target is not None
            if spec.kind is InputKind.PARAMETER:
                parameter_of[value.index] = index_of[id(named[spec.target])]
            elif spec.kind is InputKind.BUFFER:
                buffer_of[value.index] = spec.target
                if not value.dtype.is_floating_point:  # a table of indices, a mask
                    constants[value.index] = buffers[spec.target]
            else:
                constants[value.index] = self.exported.constants[spec.target]
        steps = [step for node in nodes if node.op == "call_function" for step in self._step(node)]
        steps = _with_constant_indices(steps, constants)
        kind_of = {
            spec.arg.name: spec.kind for spec in signature.output_specs if hasattr(spec.arg, "name")
        }
        results = [
            (value, kind_of.get(node.name) is OutputKind.USER_OUTPUT)
            for node in nodes[-1].all_input_nodes
            if isinstance(value := self.value_of.get(node), Value)
        ]
        aliases, entangled = _storages(self.model, constants)
        return Program(
            parameters=parameters,
            parameter_of=parameter_of,
            buffer_of=buffer_of,
            constants=constants,
            inputs=tuple(inputs),
            steps=tuple(steps),
            outputs=tuple(value for value, returned in results if returned),
            states=tuple(value for value, returned in results if not returned),
            aliases=aliases,
            entangled=entangled,
            static=frozenset(self.static),
        )

    def _place(self, node: fx.Node) -> Any:
        """Number the tensors that a node yields; None stands for anything else."""

        def place(x: Any) -> Any:
            if isinstance(x, (list, tuple)):
                return tuple(place(y) for y in x)
            if not isinstance(x, Tensor):
                return None
            self.values += 1
            return Value(self.values - 1, _sizes(node, x), x.dtype)

        self.value_of[node] = place(node.meta.get("val"))
        return self.value_of[node]

    def _step(self, node: fx.Node) -> list[Step]:
        if node.target is operator.getitem:
            source, item = node.args
            assert isinstance(source, fx.Node)
            self.value_of[node] = self.value_of[source][item]
            return []
        placed = self._place(node)
        outputs = (placed,) if isinstance(placed, Value) else placed or ()
        outputs = tuple(v for v in outputs if isinstance(v, Value))
        if not outputs:
            return []
        op, arguments = node.target, self._arguments(node)
        if isinstance(like := arguments.get("self"), Value) and _is_shaped(op):
            arguments["self"] = torch.zeros((), dtype=like.dtype).expand(like.shape)
        if not isinstance(op, torch._ops.OpOverload):
            return [Step(op, str(op), _module(node), arguments, outputs)]
        step = Step(op, operator_name(op), _module(node), arguments, outputs)
        random = torch.Tag.nondeterministic_seeded in op.tags
        if not random and all(v.index in self.static for v in step.inputs()):
            self.static.update(v.index for v in outputs)
        return [step]

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        def value(x: Any) -> Any:
            if isinstance(x, fx.Node):
                return self.value_of.get(x)
            if isinstance(x, dict):
                return {key: value(y) for key, y in x.items()}
            return [value(y) for y in x] if isinstance(x, (list, tuple)) else x

        if not isinstance(node.target, torch._ops.OpOverload):
            return {"args": value(node.args), **value(dict(node.kwargs))}
        schema = node.target._schema.arguments
        given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
        return {a.name: value(given.get(a.name, a.default_value)) for a in schema}


def _is_shaped(op: Any) -> bool:
    return isinstance(op, torch._ops.OpOverload) and operator_name(op) in _SHAPED


def _with_constant_indices(steps: list[Step], constants: dict[int, Tensor]) -> list[Step]:
    """Steps with index tensors that do not depend on inputs or parameters in place of values."""
    makers = {v.index: (n, step) for n, step in enumerate(steps) for v in step.outputs}

    def known(x: Any) -> Any:
        if isinstance(x, list):
            return [known(y) for y in x]
        tensor = constant(x, constants, makers) if isinstance(x, Value) else None
        return x if tensor is None else tensor.clone()

    return [
        replace(step, arguments={**step.arguments, name: known(step.arguments[name])})
        if (name := _INDEX_OF.get(step.name)) in step.arguments
        else step
        for step in steps
    ]


def _sizes(node: fx.Node, x: Tensor) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in x.shape)
    except Exception as error:
        raise TraceError(
            f"the output of {node.target} in {_module(node) or 'forward()'} has a shape that "
            "depends on the values of tensors; rescale the submodules that do not contain it"
        ) from error


def _module(node: fx.Node) -> str:
    """Path of the innermost module that ran the operator; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return str(path).partition("@")[0]


def _parameters(model: nn.Module) -> tuple[tuple[ParameterInfo, ...], dict[int, int]]:
    """Parameters in the order of `model.parameters()`, and their number by object identity."""
    infos: list[ParameterInfo] = []
    index_of: dict[int, int] = {}
    offset = 0
    for name, parameter in model.named_parameters():
        index_of[id(parameter)] = len(infos)
        infos.append(ParameterInfo(name, tuple(parameter.shape), offset, parameter.numel()))
        offset += parameter.numel()
    return tuple(infos), index_of


def _storages(
    model: nn.Module, constants: Mapping[int, Tensor]
) -> tuple[tuple[int, ...], frozenset[int]]:
    """Number the storage behind every parameter; which of them cannot be scaled by entry."""
    numbers: dict[Any, int] = {}

    def number(x: Tensor) -> int:
        storage = x.untyped_storage()
        key = (x.device, storage.data_ptr() or storage._cdata)
        return numbers.setdefault(key, len(numbers))

    parameters = list(model.parameters())
    aliases = tuple(number(x) for x in parameters)
    others = [*model.buffers(), *constants.values()]
    entangled = {number(x) for x in others if x.layout == torch.strided}
    for x, alias in zip(parameters, aliases, strict=True):
        if x.numel() * x.element_size() > x.untyped_storage().nbytes():
            entangled.add(alias)
    return aliases, frozenset(entangled & set(aliases))
