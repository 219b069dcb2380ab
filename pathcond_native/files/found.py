"""Scales that were found, as a file: a computation that was killed goes on with the same."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.found import Found
from ..engine.graph import RescalingGraph
from ..frameworks import Torch
from ..result import SolveResult
from .atomic import write_atomically

__all__ = ["read_found", "write_found"]

_PLAIN = [x.name for x in fields(SolveResult) if x.type in ("bool", "float", "int", "str")]


def write_found(found: Found, path: Path) -> None:
    """Write everything but the graph."""
    result = found.result
    plain = {name: getattr(result, name) for name in _PLAIN} | {"seconds": dict(result.seconds)}
    rest = {name: x for name, x in vars(found).items() if name not in ("result", "log2")}
    text = json.dumps({"result": plain, "found": rest})
    frozen = result._framework.to_numpy(result.frozen)
    arrays: dict[str, Any] = {
        "log2": found.log2,
        "u": result._u,
        "frozen": frozen,
        "history": result.history,
    }
    write_atomically(path, lambda stream: np.savez(stream, plain=np.array(text), **arrays))


def read_found(path: Path, graph: RescalingGraph) -> Found:
    """What `write_found` wrote, for the same graph."""
    framework = Torch(torch.device("cpu"))
    with np.load(path, allow_pickle=False) as held:
        plain = json.loads(str(held["plain"]))
        result = SolveResult(
            **plain["result"],
            frozen=framework.from_numpy(held["frozen"]),
            history=held["history"],
            _u=held["u"],
            _incidence=graph,
            _framework=framework,
        )
        return Found(result, held["log2"], **plain["found"])
