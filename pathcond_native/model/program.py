"""The operator graph of a PyTorch model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..engine import program
from ..engine.program import ParameterInfo, Value, tensors

__all__ = ["ParameterInfo", "Program", "Step", "Value", "constant", "tensors"]


@dataclass(frozen=True, eq=False)
class Step(program.Step):
    """One operator of torch applied to values."""

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


@dataclass(frozen=True, eq=False)
class Program(program.Program):
    """A traced PyTorch model; dtypes are torch's, constants are tensors."""

    constants: dict[int, torch.Tensor]
    steps: tuple[Step, ...]

    @cached_property
    def makers(self) -> dict[int, tuple[int, Step]]:
        """The number of the step that makes a value, and the step."""
        return {v.index: (n, step) for n, step in enumerate(self.steps) for v in step.outputs}

    def constant(self, value: Value) -> torch.Tensor | None:
        """What a value is if neither parameters nor floating-point buffers decide it, else None."""
        return constant(value, self.constants, self.makers)


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
