"""Scales that were found, as a file: a computation that was killed goes on with the same."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Framework
from ..model.found import Found
from ..model.graph import RescalingGraph
from ..result import SolveResult
from .atomic import write_atomically

__all__ = ["read_found", "write_found"]

_ARRAYS = ("u", "frozen", "history")
_PLAIN = [x.name for x in fields(SolveResult) if x.name[0] != "_" and x.name not in _ARRAYS]


def write_found(found: Found, path: Path) -> None:
    """Write everything but the graph."""
    result = found.result
    arrays: dict[str, Any] = {
        name: result._framework.to_numpy(getattr(result, name)) for name in ("u", "frozen")
    }
    plain = {name: getattr(result, name) for name in _PLAIN}
    rest = {name: x for name, x in vars(found).items() if name not in ("result", "log2")}
    text = json.dumps({"result": {**plain, "seconds": dict(result.seconds)}, "found": rest})
    write_atomically(
        path,
        lambda stream: np.savez(
            stream, plain=np.array(text), log2=found.log2, history=result.history, **arrays
        ),
    )


def read_found(path: Path, graph: RescalingGraph) -> Found:
    """What `write_found` wrote, for the same graph."""
    with np.load(path, allow_pickle=False) as held:
        arrays = dict(held)
    plain = json.loads(str(arrays.pop("plain")))
    log2 = arrays.pop("log2")
    result = SolveResult(**plain["result"], **arrays, _incidence=graph, _framework=Framework())
    return Found(result, log2, **plain["found"])
