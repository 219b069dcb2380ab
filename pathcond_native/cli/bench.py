"""``bench``: how long `solve` takes here, beside reading its input once."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import __version__
from ..errors import VerificationError
from ..model import diag_g, trace
from ..result import SolveResult
from ..solver import available_threads, solve
from .exit_codes import OK
from .networks import NETWORKS, Network
from .output import print_json, say
from .progress import Progress
from .table import align

__all__ = ["measure", "read_once", "run"]

_ACCURACY = 1e-12
_LEGEND = f"""\
Medians, in milliseconds. In brackets: over reading the same input once, as NumPy sums it, right
after a solve and so partly from cache. Every optimum was checked:
max |dF/du| / p <= {_ACCURACY:g}."""


def run(arguments: argparse.Namespace) -> int:
    """Measure the three networks, print a table or JSON; return the exit code 0."""
    measured = []
    with Progress(len(NETWORKS)) as progress:
        for network in NETWORKS:
            with progress.stage(network.title):
                measured.append(measure(network, arguments.rounds))
    if arguments.json:
        facts = {"version": __version__, "threads": available_threads(), "networks": measured}
        print_json(facts)
    else:
        say(f"{_table(measured)}\n\n{_LEGEND}")
    return OK


def measure(network: Network, rounds: int) -> dict[str, Any]:
    """Median seconds of every way to solve one network's problem, taken in turns."""
    model, inputs = network.build(), network.inputs(1)
    graph = trace(model, inputs)
    g = diag_g(model, inputs, graph=graph).numpy()
    B = graph.incidence()
    arrays = (B.indptr, B.indices, B.data, g)
    ways: dict[str, Callable[[], Any]] = {
        "solve_matrix": lambda: _checked(solve(B, g)),
        "read_matrix": lambda: read_once(arrays),
        "solve_tensors": lambda: _checked(solve(graph, g)),
        "read_tensors": lambda: read_once((g,)),
        "ten_sweeps": lambda: solve(graph, g, method="cd", tol=0, max_sweeps=10),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {
        "name": network.title,
        "parameters": graph.shape[0],
        "neurons": graph.shape[1],
        "sweeps": solve(graph, g).sweeps,
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
    }


def read_once(arrays: tuple[npt.NDArray[np.generic], ...]) -> int:
    """Read every byte once, as NumPy's sum over 64-bit integers; up to 7 bytes at an end are left.

    Caches are as the call before left them, and so is the speed.
    """
    total = 0
    for array in arrays:
        whole = array.view(np.uint8)[: array.nbytes // 8 * 8]
        total += int(whole.view(np.uint64).sum())
    return total


def _checked(result: SolveResult) -> None:
    if not result.converged or result.gradient_norm > _ACCURACY:
        raise VerificationError(f"solve did not reach the optimum: {result!r}")


def _table(measured: list[dict[str, Any]]) -> str:
    def row(label: str, cell: Callable[[dict[str, Any]], str]) -> list[str]:
        return [label, *(cell(network) for network in measured)]

    def time_row(label: str, name: str, beside: str | None = None) -> list[str]:
        def cell(network: dict[str, Any]) -> str:
            seconds = network["seconds"]
            ratio = f" ({seconds[name] / seconds[beside]:.1f})" if beside else ""
            return f"{1e3 * seconds[name]:.2f}{ratio}"

        return row(label, cell)

    return align(
        [
            row("", lambda n: str(n["name"])),
            row("parameters", lambda n: f"{n['parameters']:,}"),
            row("neurons", lambda n: f"{n['neurons']:,}"),
            row("sweeps to the optimum", lambda n: str(n["sweeps"])),
            time_row("solve(B, g)", "solve_matrix", "read_matrix"),
            time_row("solve(graph, g)", "solve_tensors", "read_tensors"),
            time_row("the paper's ten sweeps", "ten_sweeps"),
            time_row("reading B and g once", "read_matrix"),
            time_row("reading g once", "read_tensors"),
        ]
    )
