"""The operator graph of a model: plain data, free of parameter values and of torch.export types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

__all__ = ["ParameterInfo", "Program", "Step", "Value"]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its place in the list of values, shape and dtype."""

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Step:
    """One operator applied to values; `arguments` is complete, defaults included."""

    op: Any
    name: str
    where: str
    arguments: dict[str, Any]
    outputs: tuple[Value, ...]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    @property
    def module(self) -> str:
        """The module that ran the operator, as told to the user."""
        return self.where or "forward()"

    @property
    def place(self) -> str:
        """The operator and its module, as told to the user."""
        return f"{self.name} in {self.module}"

    def inputs(self) -> list[Value]:
        """Every tensor among the arguments, lists included."""
        return tensors(self.arguments)

    def call(self, replace: dict[int, torch.Tensor]) -> Any:
        """Run the operator itself, with tensors taken from `replace` by value index.

        Constant indices follow these to their device.
        """
        place = next((x.device for x in replace.values()), None)

        def real(x: Any) -> Any:
            if isinstance(x, Value):
                return replace[x.index]
            if isinstance(x, torch.Tensor):
                return x if place is None else x.to(place)
            return [real(y) for y in x] if isinstance(x, (list, tuple)) else x

        schema = self.op._schema.arguments
        positional = [real(self[a.name]) for a in schema if not a.kwarg_only]
        keywords = {a.name: real(self[a.name]) for a in schema if a.kwarg_only}
        return self.op(*positional, **keywords)


def tensors(x: Any) -> list[Value]:
    """All values inside nested dicts, lists and tuples."""
    if isinstance(x, Value):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [v for y in x for v in tensors(y)] if isinstance(x, (list, tuple)) else []


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter as `model.named_parameters()` lists it; `offset` is its first row of B."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def layer(self) -> str:
        """The module that owns it (the name itself for a parameter of the root)."""
        return self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True, eq=False)
class Program:
    """A traced model.

    `parameter_of` maps a value index to an entry of `parameters`, `buffer_of` to a buffer's name,
    `constants` to a tensor baked into the graph. `aliases[i]` numbers the storage behind parameter
    i; the storages in `entangled` cannot be rescaled (a buffer shares them, or a parameter overlaps
    itself). `static` holds the values that depend on no model input.
    """

    parameters: tuple[ParameterInfo, ...]
    parameter_of: dict[int, int]
    buffer_of: dict[int, str]
    constants: dict[int, torch.Tensor]
    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]
    states: tuple[Value, ...]
    aliases: tuple[int, ...]
    entangled: frozenset[int]
    static: frozenset[int]

    @cached_property
    def makers(self) -> dict[int, tuple[int, Step]]:
        """The number of the step that makes a value, and the step."""
        return {v.index: (n, step) for n, step in enumerate(self.steps) for v in step.outputs}

    def constant(self, value: Value) -> torch.Tensor | None:
        """What a value is if neither parameters nor floating-point buffers decide it, else None."""
        return constant(value, self.constants, self.makers)

    @property
    def p(self) -> int:
        """Number of scalar parameters, the rows of B."""
        return sum(parameter.size for parameter in self.parameters)


def constant(
    value: Value, constants: dict[int, torch.Tensor], makers: dict[int, tuple[int, Step]]
) -> torch.Tensor | None:
    """Evaluate a value from constants alone; None if that is not possible."""
    if value.index in constants:
        found = constants[value.index]
        return None if found.is_meta else found.detach()
    if value.index not in makers:
        return None
    _, step = makers[value.index]
    if torch.Tag.nondeterministic_seeded in step.op.tags:
        return None
    replace = {}
    for operand in step.inputs():
        tensor = constant(operand, constants, makers)
        if tensor is None:
            return None
        replace[operand.index] = tensor
    with torch.no_grad():
        result = step.call(replace)
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    found = dict(zip((v.index for v in step.outputs), results, strict=False))[value.index]
    return None if found.is_meta else found
