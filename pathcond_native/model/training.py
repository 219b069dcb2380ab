"""Does a model compute with other operators in training mode?"""

from __future__ import annotations

from torch import nn

from .program import Program

__all__ = ["differs_in_training"]

# Their modules do in training mode what the rules of evaluation mode allow for (dropout,
# stochastic depth, batch statistics), or leave parameters out of the evaluation graph.
_KNOWN = ("torch.", "torchvision.", "timm.", "transformers.")


def differs_in_training(model: nn.Module, program: Program) -> bool:
    """Whether training mode may hold operators, or uses of parameters, that the trace lacks.

    True if evaluation mode leaves a parameter unused (an auxiliary head), if alpha dropout is at
    work, or if a module that belongs to no known library asks for its mode.
    """
    used = {v.index for step in program.steps for v in step.inputs()}
    used |= {v.index for v in (*program.outputs, *program.states)}
    met = {parameter for index, parameter in program.parameter_of.items() if index in used}
    if len(met) < len(program.parameters):
        return True
    return any(_adds_noise(module) or _asks_for_its_mode(module) for module in model.modules())


def _adds_noise(module: nn.Module) -> bool:
    return isinstance(module, (nn.AlphaDropout, nn.FeatureAlphaDropout)) and module.p > 0


def _asks_for_its_mode(module: nn.Module) -> bool:
    kind = type(module)
    code = getattr(kind.forward, "__code__", None)
    return not kind.__module__.startswith(_KNOWN) and "training" in getattr(code, "co_names", ())
