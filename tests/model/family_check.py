"""One architecture: does a rescaling preserve its function, and are all its channels reached?

Compared with plain code of its own, beside the package's verification. A rescaling may move outputs
by 1e-12 of the largest one in float64 and by 1e-5 in float32. Batch statistics of few values and
great depth amplify rounding beyond that, whatever it is that rounds. In float64 such a model is
then rescaled by powers of two, which round nothing: its outputs have to stay. In float32 they may
move by ten times what moving every parameter by one rounding does to this model.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from families import Entry, Inputs
from family_reasons import kind_of
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pathcond_native import VerificationError
from pathcond_native.model import RescalingGraph, rescale_, trace

__all__ = ["LIMITS", "check", "is_kept", "problems"]

Facts = dict[str, Any]

LIMITS = {"float64": 1e-12, "float32": 1e-5}
_TIMES_ROUNDING = 10.0
_LEAST_CONTROL = 1e-6
_LARGEST_GRADIENT = 1e-12
_MOST_ROWS = 30_000_000  # up to here B itself is compared with the factors
_MODES = {"evaluation": False, "training": True}


def check(entry: Entry) -> Facts:
    """Everything the tests and the table say about one architecture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _check(entry)


def _check(entry: Entry) -> Facts:
    model, inputs = entry.build(), entry.inputs()
    graph = trace(model, inputs)
    kinds, gaps = _pinned(entry, graph)
    facts: Facts = {
        "library": entry.library,
        "family": entry.family,
        "parameters": graph.shape[0],
        "neurons": graph.shape[1],
        "pinned": kinds,
        "gaps": gaps,
        "untraced": [x.reason for x in graph.unsupported if x.operator == "training mode"],
        "remark": "" if entry.optimum else "random rescaling only, for its size",
    }
    if graph.shape[1]:
        facts["float64"] = _random_rescaling(model, graph, inputs)
        if entry.optimum:
            facts["float32"] = _optimum(model, graph, inputs)
    return facts


def is_kept(facts: Facts, dtype: str, mode: str) -> bool:
    """Whether the outputs stayed."""
    measured, limit = facts[dtype], LIMITS[dtype]
    moved = measured.get(mode, math.inf)
    if moved <= limit:
        return True
    if dtype == "float64":
        return bool(measured.get("powers_of_two", {}).get(mode, math.inf) <= limit)
    return bool(moved <= _TIMES_ROUNDING * measured.get("rounding", {}).get(mode, 0.0))


def problems(facts: Facts) -> list[str]:
    """What is wrong, in words; empty if nothing is."""
    found = list(facts["untraced"])
    for dtype in ("float64", "float32"):
        for mode in _MODES if dtype in facts else ():
            if not is_kept(facts, dtype, mode):
                found.append(f"outputs moved in {dtype}, {mode} mode: {facts[dtype]}")
    if "refused" in facts.get("float32", {}):
        found.append(facts["float32"]["refused"])
    if (facts.get("float32", {}).get("gradient_norm") or 0.0) > _LARGEST_GRADIENT:
        found.append(f"not at the optimum: {facts['float32']['gradient_norm']}")
    reached = facts["neurons"] > facts.get("float32", {}).get("idle", 0)
    if "float64" in facts and reached and not facts["float64"]["control"] > _LEAST_CONTROL:
        found.append("a wrong rescaling does not move the outputs either: the check is void")
    return found


def _pinned(entry: Entry, graph: RescalingGraph) -> tuple[dict[str, int], dict[str, int]]:
    """Pinned channels by mathematical reason, and those that no mathematics pins by reason."""
    kinds: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    for pinned in graph.pinned:
        kind, mathematical = kind_of(entry, pinned.reason)
        (kinds if mathematical else gaps)[kind] += pinned.channels
    if gaps and "tied" in kinds:  # to what? Perhaps to what should not have been pinned
        gaps["tied"] += kinds.pop("tied")
    return dict(kinds), dict(gaps)


def _random_rescaling(model: nn.Module, graph: RescalingGraph, inputs: Inputs) -> Facts:
    """Random factors for all neurons at once, in float64; works where no path is counted too."""
    twin, inputs = copy.deepcopy(model).double(), _to(inputs, torch.float64)
    draw = np.random.default_rng(0)
    exponents = draw.normal(size=graph.shape[1])
    before = _outputs(twin, inputs)
    _scale(twin, graph, exponents, lambda entered, left: entered - left)
    facts: Facts = _changes(before, _outputs(twin, inputs))
    # Undo one half of it: neurons are scaled where they are made and not where they are used.
    _scale(twin, graph, exponents, lambda entered, left: left)
    control = _outputs(twin, inputs, modes=("evaluation",))
    facts["control"] = _change(before["evaluation"], control["evaluation"])
    if any(facts[mode] > LIMITS["float64"] for mode in _MODES):
        with torch.no_grad():
            for x, value in zip(twin.parameters(), model.parameters(), strict=True):
                x.copy_(value)
        exponents = draw.integers(-3, 4, size=graph.shape[1]).astype(np.float64)
        _scale(twin, graph, exponents, lambda entered, left: entered - left)
        facts["powers_of_two"] = _changes(before, _outputs(twin, inputs))
    return facts


def _optimum(model: nn.Module, graph: RescalingGraph, inputs: Inputs) -> Facts:
    """The rescaling that the package is for, in the model's own dtype and verified by it."""
    before = _outputs(model, inputs)
    old = [x.detach().clone() for x in model.parameters()]
    start = time.perf_counter()
    try:
        report = rescale_(model, inputs, graph=graph, threads=1)
    except VerificationError as error:
        return {"refused": str(error), "rounding": _rounding(model, before, inputs)}
    facts: Facts = {
        **_changes(before, _outputs(model, inputs)),
        "seconds": time.perf_counter() - start,
        "stages": report.seconds,
        "nothing_because": report.nothing_because,
        "runs_verified": len(report.verification.runs),
        "max_relative_error": _number(report.max_relative_error),
        "proven_in_float64": report.verification.proven_in_float64,
        "gradient_norm": _number(report.gradient_norm),
        "idle": graph.shape[1] if report.result is None else int(report.result.frozen.sum()),
        "sweeps": None if report.result is None else report.result.sweeps,
    }
    if any(facts[mode] > LIMITS["float32"] for mode in _MODES):
        with torch.no_grad():
            for x, value in zip(model.parameters(), old, strict=True):
                x.copy_(value)
        facts["rounding"] = _rounding(model, before, inputs)
    return facts


def _scale(
    model: nn.Module,
    graph: RescalingGraph,
    exponents: Any,
    power: Callable[[Any, Any], Any],
) -> None:
    """Multiply every parameter by 2 to the power of what its two sides say."""
    extended = graph.extended(exponents)
    rows = graph.incidence() @ exponents if graph.shape[0] <= _MOST_ROWS else None
    for i, (info, x) in enumerate(zip(graph.parameters, model.parameters(), strict=True)):
        columns = graph.columns(i)
        entered, left = (extended[side] for side in columns) if columns else (0.0, 0.0)
        if rows is not None:
            row = rows[info.offset : info.offset + info.size].reshape(info.shape)
            np.testing.assert_allclose(np.broadcast_to(left - entered, info.shape), row, atol=1e-9)
        if columns is not None:
            with torch.no_grad():
                x.mul_(torch.as_tensor(np.exp2(power(entered, left))))


def _rounding(model: nn.Module, before: dict[str, list[Tensor]], inputs: Inputs) -> dict[str, Any]:
    """How far outputs move if every entry of every parameter moves by one rounding."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for x in model.parameters():
            sign = 2.0 * torch.randint(0, 2, x.shape, generator=generator) - 1.0
            x.mul_(1.0 + sign.to(x.dtype) * torch.finfo(x.dtype).eps)
    return _changes(before, _outputs(model, inputs))


def _outputs(
    model: nn.Module, inputs: Inputs, modes: tuple[str, ...] = tuple(_MODES)
) -> dict[str, list[Tensor]]:
    """All output tensors in each mode, with the same random numbers; buffers are put back."""
    found = {}
    kept = [(x, x.clone()) for x in model.buffers()]
    for mode in modes:
        model.train(_MODES[mode])
        torch.manual_seed(3)
        with torch.no_grad():
            result = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        found[mode] = [x.clone() for x in pytree.tree_leaves(result) if isinstance(x, Tensor)]
        for x, value in kept:
            x.copy_(value)
    model.eval()
    assert all(found.values()), "the model returns no tensor"
    return found


def _changes(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> dict[str, Any]:
    return {mode: _change(before[mode], after[mode]) for mode in before}


def _change(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest change of an output relative to its largest entry."""
    worst = 0.0
    for old, new in zip(before, after, strict=True):
        if not old.is_floating_point():
            assert torch.equal(old, new), "integers changed"
            continue
        assert bool(torch.isfinite(old).all()), "the model overflows without any rescaling"
        largest = float(old.abs().max())
        assert largest > 0, "the model returns zeros: nothing can be seen"
        moved = float((old - new).abs().max()) / largest
        worst = max(worst, moved if math.isfinite(moved) else math.inf)
    return worst


def _to(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    def convert(x: Tensor) -> Tensor:
        return x.to(dtype) if x.is_floating_point() else x

    return pytree.tree_map_only(Tensor, convert, inputs)


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None
