"""The operator graph of a model: plain data, free of parameter values and of any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ParameterInfo", "Program", "Step", "Value", "tensors"]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its place in the list of values, shape and the framework's dtype."""

    index: int
    shape: tuple[int, ...]
    dtype: Any


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


def tensors(x: Any) -> list[Value]:
    """All values inside nested dicts, lists and tuples."""
    if isinstance(x, Value):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [v for y in x for v in tensors(y)] if isinstance(x, (list, tuple)) else []


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter as the front end lists it; `offset` is its first row of B."""

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
    `constants` to an array baked into the graph. `aliases[i]` numbers the storage behind parameter
    i; the storages in `entangled` cannot be rescaled (a buffer shares them, or a parameter overlaps
    itself). `static` holds the values that depend on no model input.
    """

    parameters: tuple[ParameterInfo, ...]
    parameter_of: dict[int, int]
    buffer_of: dict[int, str]
    constants: dict[int, Any]
    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Value, ...]
    states: tuple[Value, ...]
    aliases: tuple[int, ...]
    entangled: frozenset[int]
    static: frozenset[int]

    def constant(self, value: Value) -> Any | None:
        """What a value is if neither parameters nor floating-point buffers decide it, else None."""
        return self.constants.get(value.index)

    @property
    def p(self) -> int:
        """Number of scalar parameters, the rows of B."""
        return sum(parameter.size for parameter in self.parameters)
