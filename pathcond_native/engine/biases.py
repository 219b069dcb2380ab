"""Which parameters are biases: what is only ever added, as opposed to weights, which multiply."""

from __future__ import annotations

from collections.abc import Mapping

from .program import Program, Value, tensors

__all__ = ["biases"]


def biases(program: Program, added: Mapping[str, tuple[str, ...]]) -> frozenset[int]:
    """The numbers of parameters that enter every operator as ``bias`` or as a summand.

    Steps between parameters, such as a reshape, are followed.

    Args:
        program: of a front end.
        added: the summands of its operators, by the names of their arguments.
    """
    held = {index: {number} for index, number in program.parameter_of.items()}
    summands: set[int] = set()
    multiplied: set[int] = set()
    for step in program.steps:
        static = all(v.index in program.static for v in step.outputs)
        for name, argument in step.arguments.items():
            parameters = set[int]().union(*(held.get(v.index, set()) for v in tensors(argument)))
            if static and len(parameters) == 1 and isinstance(argument, Value):
                for output in step.outputs:
                    held.setdefault(output.index, set()).update(parameters)
            elif name == "bias" or name in added.get(step.name, ()):
                summands |= parameters
            else:
                multiplied |= parameters
    return frozenset(summands - multiplied)
