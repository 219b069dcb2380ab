"""Does a model compute with other operators in training mode?"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from .program import Program

__all__ = ["differs_in_training"]

# Their modules do in training mode what the rules of evaluation mode allow for (dropout,
# stochastic depth, batch statistics), or leave parameters out of the evaluation graph.
_KNOWN = ("torch.", "torchvision.", "timm.", "transformers.")


def differs_in_training(model: nn.Module, program: Program) -> bool:
    """Whether training mode may hold operators, or uses of parameters, that the trace lacks.

    True if evaluation mode leaves a parameter unused (an auxiliary head), if alpha dropout is at
    work, or if code that belongs to no known library asks for a module's mode: methods, hooks,
    functions kept as attributes, and the functions that these call.
    """
    used = {v.index for step in program.steps for v in step.inputs()}
    used |= {v.index for v in (*program.outputs, *program.states)}
    met = {parameter for index, parameter in program.parameter_of.items() if index in used}
    if len(met) < len(program.parameters):
        return True
    if any(_adds_noise(module) for module in model.modules()):
        return True
    seen: set[int] = set()
    return any(
        _asks_for_a_mode(function, seen)
        for module in model.modules()
        for function in _functions(module)
    )


def _adds_noise(module: nn.Module) -> bool:
    return isinstance(module, (nn.AlphaDropout, nn.FeatureAlphaDropout)) and module.p > 0


def _is_known(x: Any) -> bool:
    return str(getattr(x, "__module__", "")).startswith(_KNOWN)


def _functions(module: nn.Module) -> Iterator[Any]:
    """What of a module is no known library's: methods, properties, attributes and hooks."""
    for kind in type(module).__mro__:
        if kind is not object and not _is_known(kind):
            yield from vars(kind).values()
    yield from vars(module).values()
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        yield from hooks.values()


def _asks_for_a_mode(x: Any, seen: set[int]) -> bool:
    """Whether a function, or one that it refers to, has the name or the text 'training' in it."""
    if isinstance(x, (staticmethod, classmethod, MethodType)):
        x = x.__func__
    elif isinstance(x, property):
        x = x.fget
    elif not isinstance(x, FunctionType) and callable(x) and not isinstance(x, (type, nn.Module)):
        x = type(x).__call__  # an object that acts as a hook
    if not isinstance(x, FunctionType) or _is_known(x) or id(x) in seen:
        return False
    seen.add(id(x))
    names: set[str] = set()
    for code in _codes(x.__code__):
        names.update(code.co_names)
        if "training" in code.co_names or "training" in code.co_consts:
            return True
    cells = [cell.cell_contents for cell in x.__closure__ or () if _is_filled(cell)]
    called = [x.__globals__[name] for name in names if name in x.__globals__]
    return any(_asks_for_a_mode(f, seen) for f in (*cells, *called))


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
