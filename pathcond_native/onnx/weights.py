"""What the criteria ask of an ONNX model, and the values that a rescaling gives it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.biases import biases
from ..engine.criteria import Criterion, Problem, of_paths, of_ranges, of_squares
from ..engine.factors import factors, multiplied
from ..engine.graph import RescalingGraph
from ..errors import InvalidInputError, VerificationError
from ..structured import Reduced, reduced
from .lift import Lift
from .network import Network
from .tape import Array, normalise

__all__ = ["BIASES", "check_finite", "diag_g", "problem", "rescaled_values"]

_LIMIT = 984  # log2 of the largest entry of g: leaves headroom for the sum over it
BIASES = {
    "onnx.Conv": "B",
    "onnx.ConvTranspose": "B",
    "onnx.Gemm": "C",
    "onnx.BatchNormalization": "B",
    "onnx.InstanceNormalization": "B",
    "onnx.GroupNormalization": "bias",
    "onnx.LayerNormalization": "B",
}
"""What operators call their bias."""

_ADDED = {
    "onnx.Add": ("A", "B"),
    "onnx.Sub": ("A", "B"),
    "onnx.Sum": ("data_0",),
    **{operator: (bias,) for operator, bias in BIASES.items()},
}


def check_finite(network: Network) -> None:
    """Raise `InvalidInputError` if a weight is NaN or infinite."""
    for number, info in enumerate(network.program.parameters):
        if not np.isfinite(network.array(number)).all():
            raise InvalidInputError(f"model: initialiser '{info.name}' is not finite")


def diag_g(network: Network, graph: RescalingGraph) -> list[Array]:
    """The diagonal of the path kernel's Gram matrix G, float64, one array per parameter.

    If the entries do not fit the range, all are divided by one power of two, to which the criterion
    is blind, and positive entries that are still too small become the smallest normal number.
    """
    found: dict[int, tuple[Array, int]] = {}

    def ready(number: int, value: Array, exponent: int) -> None:
        found[number] = value, exponent

    Lift(network, graph).differentiate(ready)
    return _aligned(network, found)


def reduced_diag_g(network: Network, graph: RescalingGraph) -> list[Array | Reduced]:
    """The same for `solve(graph, ...)`: sums where rows of B are equal, made one by one."""
    reductions: dict[int, Reduced] = {}
    found: dict[int, tuple[Array, int]] = {}

    def ready(number: int, value: Array, exponent: int) -> None:
        panels = graph.panels
        reduction = None if panels is None else reduced(panels[number][1], value.reshape(-1))
        if reduction is not None:
            reductions[number], value = reduction, reduction.sums
        found[number] = value, exponent

    Lift(network, graph).differentiate(ready)
    return [
        replace(reductions[number], sums=part) if number in reductions else part
        for number, part in enumerate(_aligned(network, found))
    ]


def problem(criterion: Criterion, network: Network, graph: RescalingGraph) -> Problem:
    """What a criterion needs of a model with finite weights."""
    rescalable = [n for n in range(len(network.tensors)) if graph.columns(n) is not None]
    if criterion == "cle":
        skipped = biases(network.program, _ADDED)
        return of_ranges(
            graph, {n: partial(_sizes, network, n) for n in rescalable if n not in skipped}
        )
    if criterion == "enorm":
        roots = {n: normalise(network.array(n).astype(np.float64), 0) for n in rescalable}
        weights = _aligned(network, {n: (np.square(x), 2 * e) for n, (x, e) in roots.items()})
        return of_squares(graph, weights, partial(_whole, weights))
    g = reduced_diag_g(network, graph)
    return of_paths(graph, g, lambda: _whole(diag_g(network, graph)))


def _sizes(network: Network, number: int) -> Array:
    return np.abs(network.array(number).astype(np.float64)).reshape(-1)


def _whole(parts: list[Array]) -> Array:
    return np.concatenate([np.zeros(0), *map(np.ravel, parts)])


def rescaled_values(
    network: Network, graph: RescalingGraph, exponents: npt.NDArray[np.float64], exact: bool
) -> Iterator[tuple[int, npt.NDArray[Any], int]]:
    """The initialisers that change: number, new values, and how many entries underflowed.

    Args:
        network: not changed.
        graph: of the network.
        exponents: log2 λ per neuron, shape (H,).
        exact: refuse values that are not the old ones times a power of two.

    Raises:
        VerificationError: a value overflows its dtype, or is not exact although it has to be.
    """
    extended = graph.extended(exponents)
    if not extended.any():
        return
    for number, info in enumerate(graph.parameters):
        pair = factors(graph, extended, number)
        if pair is None:
            continue
        old = network.array(number)
        with np.errstate(over="ignore", under="ignore"):
            new = multiplied(old, *pair).reshape(info.shape).astype(old.dtype)
        if not np.isfinite(new).all():
            raise VerificationError(
                f"initialiser '{info.name}' would overflow {old.dtype}; "
                "nothing was changed, use a smaller strength"
            )
        if exact and not np.array_equal(*(np.frexp(x)[0] for x in (new, old))):
            raise VerificationError(
                f"initialiser '{info.name}' would underflow {old.dtype} and lose bits, so that the "
                "outputs could not stay bit-identical; nothing was changed, use a smaller strength "
                "or no rounding"
            )
        small = (np.abs(new) < np.finfo(new.dtype).tiny) & (np.abs(new) < np.abs(old))
        yield number, new, int(small.sum())


def _aligned(network: Network, found: Mapping[int, tuple[Array, int]]) -> list[Array]:
    """value · 2^exponent per parameter, all moved by one power of two only if they have to be."""
    smallest, largest = 0, 0
    for value, exponent in found.values():
        low, high = float(value.min(initial=np.inf)), float(value.max(initial=0.0))
        if not (low >= 0.0 and high < np.inf):
            raise InvalidInputError(
                "model: diag(G) is not finite, or negative; a constant holds NaN or infinity, or a "
                "variance is negative"
            )
        if high > 0.0:
            low = low or float(value[value > 0].min())
            smallest = min(smallest, exponent + math.frexp(low)[1])
            largest = max(largest, exponent + math.frexp(high)[1])
    move = 0 if smallest >= -_LIMIT and largest <= _LIMIT else _LIMIT - largest
    parts = []
    for number, info in enumerate(network.program.parameters):
        value, exponent = found.get(number, (np.zeros(info.shape), 0))
        part = np.ldexp(value, exponent + move) if exponent + move else value
        if move:
            part = np.where(value > 0, np.maximum(part, np.finfo(np.float64).tiny), part)
        parts.append(np.ascontiguousarray(part))
    return parts
