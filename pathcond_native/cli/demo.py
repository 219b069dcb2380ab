"""``demo``: two networks traced, solved, rescaled and compared; every number is measured."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .. import __version__
from ..model import diag_g, rescale_, trace
from ..result import SolveResult
from ..solver import solve
from .exit_codes import OK
from .networks import AUTOENCODER, CIFAR_NV, Network
from .output import print_json, say
from .progress import Progress
from .table import align

__all__ = ["measure", "run"]

_SEED = 0
_BATCH = 16
_PAPER_SWEEPS = 10

_T = TypeVar("_T")


def run(arguments: argparse.Namespace) -> int:
    """Measure both networks and print a table or JSON; return the exit code 0."""
    measured = []
    with Progress(3) as progress:
        with progress.stage("warming up"):
            _warm_up()
        for network in (CIFAR_NV, AUTOENCODER):
            with progress.stage(f"{network.title}: tracing, solving, rescaling"):
                measured.append(measure(network))
    if arguments.json:
        print_json({"version": __version__, "networks": measured})
    else:
        say(f"\n{_table(measured)}\n\n{_LEGEND}")
    return OK


def measure(network: Network) -> dict[str, Any]:
    """Build, trace, solve and rescale one network; return what was counted and timed."""
    model = network.build(_SEED)
    inputs = network.inputs(_BATCH, _SEED)
    seconds: dict[str, float] = {}

    def timed(stage: str, action: Callable[[], _T]) -> _T:
        start = time.perf_counter()
        result = action()
        seconds[stage] = time.perf_counter() - start
        return result

    graph = timed("trace", lambda: trace(model, inputs))
    g = timed("diag_g", lambda: diag_g(model, inputs, graph=graph))
    B = timed("incidence", graph.incidence)
    sweeps = timed("ten_sweeps", lambda: solve(B, g, method="cd", tol=0, max_sweeps=_PAPER_SWEEPS))
    optimum = timed("optimum", lambda: solve(B, g))
    before = _outputs(model, inputs)
    timed("rescale", lambda: rescale_(model, inputs, graph=graph))
    change = (_outputs(model, inputs) - before).abs().max() / before.abs().max()
    return {
        "name": network.title,
        "parameters": graph.shape[0],
        "neurons": graph.shape[1],
        "rows": optimum.rows,
        "merged_rows": optimum.merged_rows,
        "start": _state(optimum.initial_objective, optimum),
        "ten_sweeps": {
            **_state(sweeps.objective, sweeps),
            "gap_per_parameter": (sweeps.objective - optimum.objective) / optimum.rows,
            "gradient": sweeps.gradient_norm,
            "sweeps": sweeps.sweeps,
        },
        "optimum": {
            **_state(optimum.objective, optimum),
            "gradient": optimum.gradient_norm,
            "sweeps": optimum.sweeps,
            "status": optimum.status,
            "smallest_scale": float(optimum.scales.min()),
            "largest_scale": float(optimum.scales.max()),
        },
        "milliseconds": _milliseconds(seconds),
        "optimum_milliseconds": _milliseconds(optimum.seconds),
        "output_change": float(change),
    }


def _warm_up() -> None:
    """Trace a tiny network once, so that no measured stage pays for torch's own start-up."""
    rescale_(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), torch.ones(1, 2))


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    return outputs


def _state(objective: float, result: SolveResult) -> dict[str, Any]:
    return {"objective": objective, "objective_per_parameter": objective / result.rows}


def _milliseconds(seconds: Any) -> dict[str, float]:
    return {stage: 1e3 * value for stage, value in seconds.items()}


_LEGEND = f"""\
F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i, g = diag(G); gap: F minus its minimum.
scales: what enters a neuron is multiplied by its scale, what leaves it is divided.
Seed {_SEED}, {_BATCH} random inputs, float32 weights; times are of one run."""


def _table(measured: list[dict[str, Any]]) -> str:
    def row(label: str, cell: Callable[[dict[str, Any]], str]) -> list[str]:
        return [label, *(cell(network) for network in measured)]

    def time_row(label: str, stage: str, key: str = "milliseconds") -> list[str]:
        return row(label, lambda n: f"{n[key][stage]:.1f}")

    stages = measured[0]["optimum_milliseconds"]
    return align(
        [
            row("", lambda n: str(n["name"])),
            row("parameters (rows of B)", lambda n: f"{n['parameters']:,}"),
            row("rows with g > 0, p", lambda n: f"{n['rows']:,}"),
            row("rows after merging equal ones", lambda n: f"{n['merged_rows']:,}"),
            row("neurons (columns of B), H", lambda n: f"{n['neurons']:,}"),
            [""],
            row("F/p at the start", lambda n: f"{n['start']['objective_per_parameter']:.9f}"),
            row(
                "F/p after the paper's ten sweeps",
                lambda n: f"{n['ten_sweeps']['objective_per_parameter']:.9f}",
            ),
            row("F/p at the optimum", lambda n: f"{n['optimum']['objective_per_parameter']:.9f}"),
            row(
                "gap/p left by the ten sweeps",
                lambda n: f"{n['ten_sweeps']['gap_per_parameter']:.1e}",
            ),
            row("max|dF/du|/p after ten sweeps", lambda n: f"{n['ten_sweeps']['gradient']:.1e}"),
            row("max|dF/du|/p at the optimum", lambda n: f"{n['optimum']['gradient']:.1e}"),
            row("sweeps to the optimum", lambda n: str(n["optimum"]["sweeps"])),
            row(
                "scales at the optimum",
                lambda n: (
                    f"{n['optimum']['smallest_scale']:.2g} .. {n['optimum']['largest_scale']:.2g}"
                ),
            ),
            [""],
            ["milliseconds"],
            time_row("  trace the model", "trace"),
            time_row("  g = diag(G)", "diag_g"),
            time_row("  matrix B", "incidence"),
            time_row('  solve, ten sweeps (method="cd")', "ten_sweeps"),
            time_row("  solve, optimum", "optimum"),
            *(time_row(f"    {stage}", stage, "optimum_milliseconds") for stage in stages),
            time_row("  rescale_, all of it, verified", "rescale"),
            [""],
            row("largest change of an output", lambda n: f"{n['output_change']:.1e}"),
            ["  relative to the largest output"],
        ]
    )
