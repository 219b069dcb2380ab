"""Properties that every rescaling of every network has, against plain code.

    python tests/model/random_checks.py --networks 420

Networks are drawn from the operators of the rule table. Each is traced once and checked with
several weights, in float64 and in lower precision. Where something does not hold, the line printed
says which network, and the command ends with an error.
"""

import argparse
import collections
import copy
import time
import traceback
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from random_networks import random_network
from symmetry import outputs, rescaled
from torch import Tensor, nn

from pathcond_native.errors import InvalidInputError, VerificationError
from pathcond_native.model import RescaleReport, RescalingGraph, diag_g, rescale_, trace
from pathcond_native.model.rules import RULES

Inputs = tuple[Tensor, ...]
Array = npt.NDArray[np.float64]

_STATIONARY = 1e-9  # |∇F|/p, recomputed here from B and g; the solver stops at 1e-12
_SAME_POINT = 1e-6  # of log λ, beside what a flat minimum leaves open
_LEAST = 1e-12  # of an output's largest entry: arithmetic rounds by itself
_ROUNDINGS = 100.0  # outputs may move by so many times what one rounding of each parameter does
_LOWER = (torch.float32, torch.bfloat16, torch.float16)


def _normal(r: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=r, dtype=torch.float64)


def _by_row(x: Tensor, values: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.dim() - 1)) if x.dim() else values[0]


WEIGHTS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "as built": lambda x, r: x,
    "tensors": lambda x, r: x * 10.0 ** (2 * float(_normal(r))),
    "decades": lambda x, r: x * 10.0 ** (10 * float(_normal(r))),
    "rows": lambda x, r: x * _by_row(x, (2 * _normal(r, *x.shape[:1] or (1,))).exp()),
    "entries": lambda x, r: x * (2 * _normal(r, *x.shape)).exp(),
    "zero rows": lambda x, r: x * _by_row(x, _normal(r, *x.shape[:1] or (1,)) > -1),
}


def redrawn(model: nn.Module, weights: str, seed: int) -> nn.Module:
    """A copy with other weights."""
    twin, r = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for x in twin.parameters():
            x.copy_(WEIGHTS[weights](x, r))
    return twin


def check(model: nn.Module, inputs: Inputs, graph: RescalingGraph, seed: int) -> str:
    """All properties of a float64 network; what became of it."""
    found = _rescaled(model, inputs, graph)
    if isinstance(found, str):
        return found
    new, report = found
    start, end = report.initial_objective, report.objective
    assert end <= start + 1e-12 * abs(start), f"F rose from {start} to {end}"
    u, frozen = report.result.u.numpy(), report.result.frozen.numpy()
    B, g = graph.incidence().astype(np.float64), diag_g(model, inputs, graph=graph).numpy()
    if not report.result.converged:
        return f"not converged: {report.result.status}"
    assert stationarity(B, g, u) <= _STATIONARY, f"|∇F|/p = {stationarity(B, g, u)}"
    assert_same_function(model, new, inputs)

    curvature = _curvature(B, g, u)
    allowed = _SAME_POINT + 1e-9 / curvature if curvature > 0 else np.inf
    again = _rescaled(new, inputs, graph)
    if isinstance(again, str):  # where all outputs are rounding, it depends on luck
        return f"{again} the second time"
    moved = _distance(again[0], new, g > 0)
    assert moved <= allowed, f"a second rescaling moved log λ by {moved}, allowed {allowed}"
    shift = np.random.default_rng(seed).normal(size=B.shape[1]) * ~frozen
    elsewhere = _rescaled(rescaled(model, graph, shift), inputs, graph)
    if isinstance(elsewhere, str):
        return f"{elsewhere} from elsewhere"
    moved = _distance(elsewhere[0], new, g > 0)
    assert moved <= allowed, f"from elsewhere log λ differs by {moved}, allowed {allowed}"

    exact = _rescaled(model, inputs, graph, round_to="power_of_two")
    assert not isinstance(exact, str), exact
    pair = (outputs(m, inputs, False) for m in (model, exact[0]))
    same = (np.array_equal(a, b, equal_nan=True) for a, b in zip(*pair, strict=True))
    assert all(same), "bits changed"
    return "rescaled" if curvature > 0 else "rescaled, flat minimum"


def check_lower(model: nn.Module, inputs: Inputs, graph: RescalingGraph, dtype: torch.dtype) -> str:
    """Properties in lower precision: each entry rounded once, what underflows is listed."""
    model = copy.deepcopy(model).to(dtype)
    inputs = tuple(x.to(dtype) for x in inputs)
    found = _rescaled(model, inputs, graph)
    if isinstance(found, str):
        return found
    new, report = found
    s = np.exp(-0.5 * (graph.incidence().astype(np.float64) @ report.result.u.numpy()))
    tiny, eps = torch.finfo(dtype).smallest_normal, torch.finfo(dtype).eps
    parts = torch.from_numpy(s).split([x.numel() for x in model.parameters()])
    lost = 0
    for old, x, factor in zip(model.parameters(), new.parameters(), parts, strict=True):
        wanted = old.detach().double() * factor.reshape(x.shape)
        error = (x.detach().double() - wanted).abs()
        assert bool((error <= eps * wanted.abs().clamp_min(tiny)).all()), "rounded more than once"
        small = (x.detach().abs() < tiny) & (x.detach().abs() < old.detach().abs())
        lost += int(small.sum())
    assert lost == sum(report.underflow.values()), f"{lost} underflow, not {report.underflow}"
    return "rescaled, with underflow" if lost else "rescaled"


def _rescaled(
    model: nn.Module, inputs: Inputs, graph: RescalingGraph, **options: str
) -> tuple[nn.Module, RescaleReport] | str:
    """A rescaled copy, or why there is none; nothing may then have changed."""
    new, report = copy.deepcopy(model), None
    try:
        report = rescale_(new, inputs, graph=graph, **options)
    except InvalidInputError as error:
        reason = "refused: not finite"
        if not all(bool(torch.isfinite(x).all()) for x in model.parameters()):
            pass
        elif "NotImplementedError" in str(error):  # of torch: average pooling of volumes in float16
            reason = "refused: torch cannot run it"
        else:
            finite = [bool(torch.isfinite(x).all()) for x in outputs(model, inputs, False)]
            assert not all(finite), error
    except VerificationError as error:
        overflow = "overflow" in str(error) or "underflow" in str(error)
        reason = "refused: out of range" if overflow else "refused: outputs changed"
    else:
        if not report.nothing_because:
            return new, report
        reason = "nothing to rescale"
    for x, y in zip(model.state_dict().values(), new.state_dict().values(), strict=True):
        assert (
            x.numpy(force=True).tobytes() == y.numpy(force=True).tobytes()
            if (x.dtype is not torch.bfloat16)
            else torch.equal(x.view(torch.int16), y.view(torch.int16))
        ), reason
    return reason


def _probabilities(B: Array, g: Array, u: Array) -> Array:
    with np.errstate(divide="ignore"):
        log = np.log(g) + B @ u
    weights = np.exp(log - log.max())
    return weights / weights.sum()


def stationarity(B: Array, g: Array, u: Array, max_scale: float = np.inf) -> float:
    """|∇F|∞/p without the entries that keep a neuron at its bound."""
    inside = g > 0
    gradient = B.T @ _probabilities(B, g, u) - np.asarray(B[inside].sum(0)).ravel() / inside.sum()
    held = (np.abs(u) >= 2 * np.log(max_scale) * (1 - 1e-12)) & (u * gradient <= 0)
    return float(np.abs(gradient[~held]).max(initial=0))


def _curvature(B: Array, g: Array, u: Array) -> float:
    """The smallest positive eigenvalue of F's Hessian over p; 0 if rounding hides it."""
    pi, dense = _probabilities(B, g, u), B.toarray()
    mean = pi @ dense
    found = np.linalg.eigvalsh((dense.T * pi) @ dense - np.outer(mean, mean))
    curved = found[found > 1e-14 * found.max()]
    hidden = len(curved) < np.linalg.matrix_rank(dense[g > 0])
    return 0.0 if hidden else float(curved.min())


def _distance(a: nn.Module, b: nn.Module, rows: npt.NDArray[np.bool_]) -> float:
    """The largest change of log |parameter| among some rows of B."""
    x, y = (
        np.concatenate([w.detach().reshape(-1).numpy() for w in m.parameters()])[rows]
        for m in (a, b)
    )
    assert (np.sign(x) == np.sign(y)).all(), "a sign changed"
    return float(np.abs(np.log(x[y != 0] / y[y != 0])).max(initial=0.0))


def assert_same_function(old: nn.Module, new: nn.Module, inputs: Inputs) -> None:
    nudged, r = copy.deepcopy(old), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for x in nudged.parameters():
            x.mul_(1 + torch.finfo(x.dtype).eps * _normal(r, *x.shape).sign())
    for training in (False, True):
        try:
            found = [outputs(m, inputs, training) for m in (old, new, nudged)]
        except ValueError:  # batch statistics of one value
            continue
        for x, y, z in zip(*found, strict=True):
            if bool(torch.isfinite(x).all()):
                scale, moved, noise = (float(w.abs().max()) for w in (x, y - x, z - x))
                assert moved <= _LEAST * scale + _ROUNDINGS * noise, (
                    f"outputs moved by {moved / scale} in mode {training}, noise {noise / scale}"
                )


def run(seeds: range, names: collections.Counter[str]) -> Iterator[tuple[str, str]]:
    """What was checked and what became of it; `names` counts the operators."""
    for seed in seeds:
        model = random_network(seed)
        graph = trace(model, model.inputs)
        names.update(step.name for step in graph.program.steps)
        for weights in WEIGHTS:
            drawn = redrawn(model, weights, seed)
            yield (
                f"network {seed}, {weights}, float64",
                _caught(check, drawn, model.inputs, graph, seed),
            )
            for dtype in _LOWER:
                what = f"network {seed}, {weights}, {dtype}"
                yield what, _caught(check_lower, drawn, model.inputs, graph, dtype)


def _caught(test: Callable[..., str], *args: object) -> str:
    try:
        return test(*args)
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        return f"FAILED: {type(error).__name__} in line {line}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    counts: collections.Counter[str] = collections.Counter()
    names: collections.Counter[str] = collections.Counter()
    start = time.perf_counter()
    for what, became in run(range(options.first, options.first + options.networks), names):
        counts[became.partition(": ")[0] if "FAILED" in became else became] += 1
        if "FAILED" in became or "not converged" in became:
            print(f"{what}: {became}", flush=True)
    for became, count in counts.most_common():
        print(f"{count:7d} {became}")
    print(f"{counts.total():7d} models in {time.perf_counter() - start:.0f} s")
    print(f"{len(names.keys() & RULES.keys())} of {len(RULES)} operators of the rule table")
    print("without:", *sorted(RULES.keys() - names.keys()))
    raise SystemExit(counts["FAILED"] > 0)


if __name__ == "__main__":
    main()
