"""``solve``: B and g from files, u into one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..files.atomic import check_writable, write_atomically
from ..result import SolveResult
from ..solver import solve
from .exit_codes import FAILED, OK, UsageError
from .output import print_json, say
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
            B, g = _read_matrix(arguments.B), _read_array(arguments.g, "g")
        if arguments.output is not None:
            _check_output(arguments.output, arguments.B, arguments.g)

        def tell(sweep: int, _: float, gradient: float) -> None:
            progress.say(f"sweep {sweep}, |grad F|/p {gradient:.1e}")

        with progress.stage("solving"):
            result = solve(B, g, callback=tell, **solver_options(arguments))
        with progress.stage("writing"):
            if arguments.output is not None:
                write_atomically(
                    arguments.output, lambda stream: np.save(stream, result.u, allow_pickle=False)
                )
    facts = {**_facts(result), "output": arguments.output and str(arguments.output)}
    if arguments.json:
        print_json(facts)
    else:
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            if value is not None:
                say(f"{name.replace('_', ' '):<{width}}{value}")
    if result.converged or arguments.max_sweeps is not None or arguments.method == "cd":
        return OK
    remedy = "rounding allows no step" if result.status == "stalled" else "--max-sweeps allows more"
    print(
        f"pathcond: no convergence: {remedy}; --tol would have to be {result.gradient_norm:.1e}",
        file=sys.stderr,
    )
    return FAILED


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


def _check_output(output: Path, *inputs: Path) -> None:
    check_writable(output)
    for path in inputs:
        if output.exists() and output.samefile(path):
            raise UsageError(f"solve: {output} is an input; name another file")


def _read_matrix(path: Path) -> Any:
    if path.suffix == ".npy":
        return _read_array(path, "B")
    from scipy.sparse import load_npz

    _check_file(path, "B")
    try:
        return load_npz(path)
    except Exception as error:
        raise InvalidInputError(
            f"B: {path} is no matrix of scipy.sparse.save_npz, nor .npy ({error})"
        ) from error


def _read_array(path: Path, name: str) -> Any:
    _check_file(path, name)
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:
        # NumPy takes everything that it does not know for pickled objects.
        reason = "not in that format, or objects" if "pickle" in str(error) else str(error)
        raise InvalidInputError(
            f"{name}: {path} is no array of numbers by numpy.save ({reason})"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InvalidInputError(f"{name}: {path} is an archive; expected one array, .npy")
    return array


def _check_file(path: Path, name: str) -> None:
    if not path.is_file():
        raise InvalidInputError(f"{name}: {path}: there is no such file")
