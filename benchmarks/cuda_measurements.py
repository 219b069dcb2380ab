"""What ``python -m benchmarks.cuda`` measures on a device; each checks the answer that it times.

Without an argument the names of the measurements are printed, one a line; with a name, what it
measures, as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.sparse import csc_array

import pathcond_native as pc
from pathcond_native.device_scaling import scale_on_device, scaling

from .residual import resnet50
from .synthetic import NONE, Tensor, Tensors, chain

DEVICE = "cuda"
REPEATS = 11
Facts = dict[str, Any]

if TYPE_CHECKING:
    from torch import nn


def seconds(run: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    """Median wall time, the device being idle before and after."""
    run()
    times = []
    for _ in range(REPEATS):
        before()
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_bandwidth(numbers: int = 1 << 28) -> float:
    """Bytes read and written per second by a copy from device to device."""
    source = torch.ones(numbers, dtype=torch.float32, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source))


def layers(width: int, depth: int, taps: tuple[int, ...]) -> Tensors:
    """A chain of layers; the first reads and the last writes 100 channels."""
    sides = [
        NONE if k in (0, depth) else np.arange((k - 1) * width, k * width, dtype=np.int32)
        for k in range(depth + 1)
    ]
    tensors = []
    for k in range(depth):
        entered, left = sides[k + 1], sides[k]
        shape = (width if len(entered) > 1 else 100, width if len(left) > 1 else 100, *taps)
        trailing = (1,) * len(taps)
        tensors.append(
            Tensor(shape, entered.reshape(-1, 1, *trailing), left.reshape(-1, *trailing))
        )
    return Tensors(tensors, (depth - 1) * width)


KINDS: dict[str, Callable[[], Tensors]] = {
    "linear": lambda: layers(5800, 5, ()),
    "3 x 3": lambda: layers(1935, 5, (3, 3)),
    "7 x 7": lambda: layers(830, 5, (7, 7)),
}


def matrix() -> csc_array:
    """B of convolutions."""
    return layers(640, 5, (3, 3)).incidence()


def merge(graph: Tensors, dtype: str, bandwidth: float) -> Facts:
    """Time to merge a network's weights, beside that in which the device copies as many bytes."""
    _ = graph.panels
    g = torch.rand(graph.shape[0], dtype=getattr(torch, dtype), device=DEVICE) + 0.5
    results = [pc.solve(graph, g) for _ in range(REPEATS)]
    assert all(r.converged and torch.equal(r.u, results[0].u) for r in results), results[0]
    took = statistics.median(r.seconds["merge"] for r in results[1:])
    in_place = all(len(tensor.shape) == 2 for tensor in graph.tensors)
    merged = 0 if in_place else 8 * results[0].merged_rows
    return {
        "dtype": dtype,
        "parameters": graph.shape[0],
        "merge_seconds": took,
        "share_of_copy_bandwidth": (g.nbytes + merged) / took / bandwidth,
        "solve_seconds": seconds(lambda: pc.solve(graph, g)),
        "sweeps": results[0].sweeps,
        "passes": results[0].passes,
        "gradient": results[0].gradient_norm,
    }


def shuffled(B: csc_array) -> csc_array:
    """The rows in no order, so that they have to be sorted."""
    order = np.random.default_rng(0).permutation(B.shape[0]).astype(B.indices.dtype)
    mixed = csc_array((B.data.copy(), order[B.indices], B.indptr), B.shape)
    mixed.sort_indices()
    return mixed


def columns(B: csc_array, bandwidth: float) -> Facts:
    """Time to merge a matrix B, beside the time in which the device copies as many bytes."""
    parts = [torch.from_numpy(x).to(DEVICE) for x in (B.indptr, B.indices, B.data)]
    matrix = torch.sparse_csc_tensor(*parts, size=B.shape, check_invariants=False)
    g = torch.rand(B.shape[0], device=DEVICE) + 0.5
    results = [pc.solve(matrix, g) for _ in range(REPEATS)]
    expected = pc.solve(B, g.cpu())
    difference = float((results[0].u.cpu() - expected.u).abs().max())
    assert all(r.converged for r in results) and difference <= 1e-10, (results[0], difference)
    took = statistics.median(r.seconds["merge"] for r in results[1:])
    read = sum(x.nbytes for x in (*parts, g))
    return {
        "parameters": B.shape[0],
        "entries": B.nnz,
        "merge_seconds": took,
        "share_of_copy_bandwidth": read / took / bandwidth,
        "difference_from_host": difference,
    }


def scaled(graph: Tensors, dtype: str, bandwidth: float) -> Facts:
    """Time to scale a network's weights, beside that in which the device copies as many bytes."""
    scales = np.random.default_rng(0).uniform(0.8, 1.25, graph.shape[1] + 1)
    plans, expected = [], []
    for tensor in graph.tensors:
        x = torch.rand(tensor.shape, device=DEVICE).add_(0.5).to(getattr(torch, dtype))
        ids = (y.reshape((1,) * (x.ndim - y.ndim) + y.shape) for y in (tensor.entered, tensor.left))
        factors = [scales[y] ** power for y, power in zip(ids, (1, -1), strict=True)]
        first, second = (torch.from_numpy(factor).to(DEVICE) for factor in factors)
        expected.append((x.double() * first * second).to(x.dtype))
        plans.append(scaling(x, factors))
    assert all(plan is not None for plan in plans)
    assert set(scale_on_device(plans)) == {(0, 0)}
    assert all(torch.equal(plan.array, new) for plan, new in zip(plans, expected, strict=True))
    del expected
    took = seconds(lambda: scale_on_device(plans))
    return {
        "dtype": dtype,
        "parameters": graph.shape[0],
        "seconds": took,
        "share_of_copy_bandwidth": 2 * sum(plan.array.nbytes for plan in plans) / took / bandwidth,
    }


def levels(graph: Tensors, method: Literal["auto", "cd"]) -> Facts:
    """Sweeps of a deep network of narrow layers, whose time is that of launches."""
    g = torch.from_numpy(np.random.default_rng(0).lognormal(0, 1.5, graph.shape[0])).to(DEVICE)

    def sweeps(count: int) -> float:
        return seconds(lambda: pc.solve(graph, g, method=method, tol=0, max_sweeps=count))

    return {
        "method": method,
        "tensors": len(graph.tensors),
        "seconds_per_sweep": (sweeps(7) - sweeps(2)) / 5,
    }


def rescaling(model: nn.Module, inputs: tuple[int, ...]) -> Facts:
    """`solve` and `rescale_` of a model beside one forward and backward pass at batch 1."""
    model = model.to(DEVICE)
    x = torch.randn(inputs, device=DEVICE)
    graph = pc.trace(model, x)
    g = pc.diag_g(model, x, graph=graph)
    result = pc.solve(graph, g)
    on_host = pc.solve(graph, g.cpu())
    difference = float((result.u.cpu() - on_host.u).abs().max())
    assert result.converged and difference <= 1e-10, (result, difference)

    original = [parameter.detach().clone() for parameter in model.parameters()]

    def restore() -> None:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), original, strict=True):
                parameter.copy_(value)

    def rescale(verify: bool) -> float:
        return seconds(lambda: pc.rescale_(model, x, graph=graph, verify=verify), restore)

    step_seconds = seconds(lambda: model(x).sum().backward())
    rescales = {"unverified": rescale(False), "verified": rescale(True)}
    return {
        "parameters": graph.shape[0],
        "merged_rows": result.merged_rows,
        "solve_seconds": seconds(lambda: pc.solve(graph, g)),
        "difference_from_host": difference,
        "diag_g_seconds": seconds(lambda: pc.diag_g(model, x, graph=graph)),
        "forward_backward_seconds": step_seconds,
        **{f"rescale_{name}_seconds": took for name, took in rescales.items()},
        **{f"rescale_{name}_ratio": took / step_seconds for name, took in rescales.items()},
    }


def beside_copying(measure: Callable[..., Facts], build: Callable[[], Any], *how: str) -> Facts:
    """Of what `build` returns, beside the bandwidth that this process has measured."""
    return measure(build(), *how, copy_bandwidth())


MEASUREMENTS: dict[str, Callable[[], Facts]] = {
    "copy": lambda: {"bytes_per_second": copy_bandwidth()},
    **{
        f"merge, {kind}, {dtype}": partial(beside_copying, merge, build, dtype)
        for kind, build in KINDS.items()
        for dtype in ("float32", "float64")
    },
    "columns": partial(beside_copying, columns, matrix),
    "shuffled rows": partial(beside_copying, columns, lambda: shuffled(matrix())),
    **{
        f"scale, {kind}, {dtype}": partial(beside_copying, scaled, build, dtype)
        for kind, build in KINDS.items()
        for dtype in ("float32", "bfloat16")
    },
    "levels, auto": lambda: levels(chain(256, 51), "auto"),
    "levels, cd": lambda: levels(chain(256, 51), "cd"),
    "resnet50": lambda: rescaling(resnet50(), (1, 3, 224, 224)),
}


def main(names: list[str]) -> None:
    """Print what there is, or what one measures."""
    if not names:
        print(*MEASUREMENTS, sep="\n")
    for name in names:
        print(json.dumps(MEASUREMENTS[name]()))


if __name__ == "__main__":
    main(sys.argv[1:])
