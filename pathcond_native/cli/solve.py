"""``solve``: B and g from files, u into one."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..files.atomic import write_atomically
from ..result import SolveResult
from ..solver import solve
from .exit_codes import FAILED, OK
from .output import print_json
from .progress import Progress

__all__ = ["run", "solver_options"]

_PRINTED = (
    *("status", "converged", "objective", "initial_objective", "gradient_norm", "sweeps"),
    *("passes", "rows", "merged_rows"),
)


def run(arguments: argparse.Namespace) -> int:
    """Solve, print what was found, write u; 1 without convergence, unless it was cut short."""
    with Progress(3) as progress:
        with progress.stage("reading"):
            B, g = _read_matrix(arguments.B), _read_vector(arguments.g)

        def tell(sweep: int, _: float, gradient: float) -> None:
            progress.say(f"sweep {sweep}, |grad F|/p {gradient:.1e}")

        with progress.stage("solving"):
            result = solve(B, g, callback=tell, **solver_options(arguments))
        with progress.stage("writing"):
            if arguments.output is not None:
                write_atomically(
                    arguments.output, lambda stream: np.save(stream, result.u, allow_pickle=False)
                )
    facts = _facts(result)
    if arguments.json:
        print_json(facts)
    else:
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<{width}}{value}")
    cut_short = arguments.max_sweeps is not None or arguments.method == "cd"
    return OK if result.converged or cut_short else FAILED


def solver_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the user said about the solver, as `solve` and `rescale_` take it."""
    names = ("criterion", "method", "tol", "max_sweeps", "max_scale", "threads")
    return {name: getattr(arguments, name) for name in names}


def _facts(result: SolveResult) -> dict[str, Any]:
    scales = result.scales
    known = {x.name: getattr(result, x.name) for x in fields(result) if x.name in _PRINTED}
    return {
        "neurons": len(scales),
        "frozen": int(result.frozen.sum()),
        **{name: known[name] for name in _PRINTED},
        "smallest_scale": float(scales.min()) if len(scales) else 1.0,
        "largest_scale": float(scales.max()) if len(scales) else 1.0,
        "seconds": sum(result.seconds.values()),
    }


def _read_matrix(path: Path) -> Any:
    from scipy.sparse import load_npz

    try:
        return load_npz(path)
    except Exception as error:
        raise InvalidInputError(
            f"B: {path} is no matrix of scipy.sparse.save_npz ({type(error).__name__}: {error})"
        ) from error


def _read_vector(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:
        raise InvalidInputError(
            f"g: {path} is no array of numpy.save ({type(error).__name__}: {error})"
        ) from error
