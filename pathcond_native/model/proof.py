"""Is a change of the outputs rounding? Decided in float64.

A float32 network evaluated twice with weights that differ in the last bit may differ by more than
any fixed tolerance: batch statistics of a few values, cancellation and great depth amplify
rounding. A wrong rescaling then has to be told from a right one by other means. Two facts together
are a proof:

1. the same rescaling of a float64 copy changes no output by more than 1e-11 of its largest entry
   (float32's own rounding is 5e8 times that of float64), and no integer at all;
2. every parameter of the model is that copy's parameter, rounded once to its dtype.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import PathcondError
from .apply import rescaled_values
from .graph import RescalingGraph
from .state import copied, write
from .verify import Run, changes, observe

__all__ = ["is_rounding"]

_TOLERANCE = 1e-11  # the copy amplifies its own rounding, too


def is_rounding(
    model: nn.Module,
    graph: RescalingGraph,
    exponents: npt.NDArray[np.float64],
    originals: list[Tensor],
    wanted: list[Run],
) -> bool:
    """Whether a rescaled model computes the same function up to the rounding of its arithmetic.

    False also where that cannot be decided: the model is in float64 already, or its code does not
    run in float64.

    Args:
        model: with its new parameters; not changed.
        graph, exponents: what was applied.
        originals: the parameters' values before.
        wanted: the runs to compare: those in which an output moved too far.
    """
    parameters = list(model.parameters())
    if all(x.dtype == torch.float64 or not x.is_floating_point() for x in parameters):
        return False
    try:
        twin = copied(model)
        for x, value in zip(twin.parameters(), originals, strict=True):
            write(x, value)
        twin = twin.double()
        precise = [_double(run) for run in wanted]
        before = observe(twin, precise)
        for x, value in rescaled_values(twin, graph, exponents):
            write(x, value)
        found = changes(before, observe(twin, precise))
    except PathcondError:
        return False
    for change in found:
        real = change.dtype.is_floating_point or change.dtype.is_complex
        precise_enough = not real or change.dtype in (torch.float64, torch.complex128)
        if not precise_enough or not change.error <= (_TOLERANCE if real else 0.0):
            return False
    return all(map(_is_rounded, parameters, twin.parameters()))


def _double(run: Run) -> Run:
    call = pytree.tree_map_only(
        Tensor, lambda x: x.double() if x.is_floating_point() else x, run.call
    )
    return Run(run.name, call, run.training, run.required)


def _is_rounded(x: Tensor, exact: Tensor) -> bool:
    """Whether x is the float64 tensor `exact` after one rounding to nearest."""
    if not x.is_floating_point():
        return True
    x, exact = x.detach(), exact.detach()
    info = torch.finfo(x.dtype)
    unit = info.eps * exact.abs().clamp_min(info.smallest_normal)
    return bool(((x.double() - exact).abs() <= 0.5 * unit).all())
