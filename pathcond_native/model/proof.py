"""Is a change of the outputs rounding? Decided in float64, against rounding itself.

A float32 network evaluated twice with weights that differ in the last bit may differ by more than
any fixed tolerance: batch statistics of a few values, cancellation and great depth amplify
rounding. A wrong rescaling then has to be told from a right one by other means. Three facts
together are a proof:

1. the same rescaling of a float64 copy changes no output by much more than moving every parameter
   of that copy by one rounding does, and no integer at all;
2. every parameter of the model is that copy's parameter, rounded once to its dtype;
3. the model's outputs moved by no more than roundings of its own dtype explain, amplified as in 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..engine.graph import RescalingGraph
from ..errors import PathcondError
from .apply import rescale_parameters
from .state import copied, write
from .verify import Change, Run, changes, mode_of, observe

__all__ = ["is_rounding"]

_LEAST = 1e-13  # a few dozen float64 roundings: outputs have some of their own
_MORE = 10.0  # times what one rounding of every parameter does
_MOST = 1e-6  # a copy that amplifies rounding to this much proves nothing
_PIECE = 1 << 18  # entries that are nudged at once


def is_rounding(
    model: nn.Module,
    graph: RescalingGraph,
    exponents: npt.NDArray[np.float64],
    originals: list[Tensor],
    wanted: list[Run],
    moved: list[Change],
) -> bool:
    """Whether a rescaled model computes the same function up to the rounding of its arithmetic.

    False also where that cannot be decided: the model's code does not run in float64.

    Args:
        model: with its new parameters; not changed.
        graph, exponents: what was applied.
        originals: the parameters' values before.
        wanted: the runs to compare, one of each mode in which an output moved too far.
        moved: the changes of the model's outputs that went too far, in any run of those modes.
    """
    try:
        exact = {
            id(x): nn.Parameter(value.to(torch.float64, copy=True), requires_grad=False)
            for x, value in zip(model.parameters(), originals, strict=True)
            if x.is_floating_point()
        }
        twin = copied(model, exact).double()
        parameters = list(twin.parameters())
        precise = [_double(run) for run in wanted]
        before = observe(twin, precise)
        _nudge(parameters)
        amplified = {(c.run, c.output): c.error for c in changes(before, observe(twin, precise))}
        for x, value in zip(parameters, originals, strict=True):
            write(x, value)
        rescale_parameters(twin, graph, exponents)
        found = changes(before, observe(twin, precise))
    except PathcondError:
        return False
    for change in found:
        real = change.dtype.is_floating_point or change.dtype.is_complex
        precise_enough = not real or change.dtype in (torch.float64, torch.complex128)
        noise = amplified[change.run, change.output]
        allowed = max(_LEAST, _MORE * noise) if noise <= _MOST else 0.0
        if not precise_enough or not change.error <= (allowed if real else 0.0):
            return False
    unit = max(torch.finfo(x.dtype).eps for x in model.parameters() if x.is_floating_point())
    unit /= torch.finfo(torch.float64).eps
    of_mode = {(mode_of(run), output): noise for (run, output), noise in amplified.items()}
    explained = True
    for c in moved:
        noise = of_mode.get((mode_of(c.run), c.output), np.inf)  # infinite: the run was left out
        explained &= noise <= _MOST
        explained &= c.error <= max(c.allowed, _MORE * unit * max(_LEAST, noise))
    return explained and all(map(_is_rounded, model.parameters(), twin.parameters()))


def _nudge(parameters: Sequence[Tensor]) -> None:
    """Move every entry by one rounding, up or down at random; piece by piece, in place."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (_PIECE,), generator=generator).double().mul_(2.0).sub_(1.0)
    for x in parameters:
        if not x.is_floating_point():
            continue
        factors = (1.0 + signs * torch.finfo(x.dtype).eps).to(x.device, x.dtype)
        flat = x.detach().contiguous().view(-1)
        for start in range(0, flat.numel(), _PIECE):
            piece = flat[start : start + _PIECE]
            piece.mul_(factors[: len(piece)])
        write(x, flat.view(x.shape))


def _double(run: Run) -> Run:
    call = pytree.tree_map_only(
        Tensor, lambda x: x.double() if x.is_floating_point() else x, run.call
    )
    return Run(run.name, call, run.training, run.required)


def _is_rounded(x: Tensor, exact: Tensor) -> bool:
    """Whether x is the float64 tensor `exact` after one rounding to nearest."""
    return not x.is_floating_point() or torch.equal(x.detach(), exact.detach().to(x.dtype))
