"""Which parameters are biases: what is only ever added, as opposed to weights, which multiply."""

from __future__ import annotations

from .program import Program, Value, tensors

__all__ = ["biases"]

_ADDED = {
    "aten.add": ("self", "other"),
    "aten.sub": ("self", "other"),
    "aten.rsub": ("self", "other"),
    "aten.addmm": ("self",),
    "aten.baddbmm": ("self",),
    "aten.addcmul": ("self",),
}


def biases(program: Program) -> frozenset[int]:
    """The numbers of parameters that enter every operator as ``bias`` or as a summand.

    Steps between parameters, such as a reshape, are followed.
    """
    held = {index: {number} for index, number in program.parameter_of.items()}
    added: set[int] = set()
    multiplied: set[int] = set()
    for step in program.steps:
        static = all(v.index in program.static for v in step.outputs)
        for name, argument in step.arguments.items():
            parameters = set[int]().union(*(held.get(v.index, set()) for v in tensors(argument)))
            if static and len(parameters) == 1 and isinstance(argument, Value):
                for output in step.outputs:
                    held.setdefault(output.index, set()).update(parameters)
            elif name == "bias" or name in _ADDED.get(step.name, ()):
                added |= parameters
            else:
                multiplied |= parameters
    return frozenset(added - multiplied)
