"""Models run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.program import Value
from ..errors import InvalidInputError

__all__ = ["SPARE", "Feeds", "Observer", "Outputs", "drawn", "runtime"]

Feeds = Mapping[str, npt.NDArray[Any]]
Outputs = dict[str, npt.NDArray[Any]]

SPARE = "random inputs, twice as many"
"""A run that need not be possible."""


def runtime() -> Any:
    """The module onnxruntime.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"outputs are compared with the package {error.name!r}: "
            "pip install 'pathcond-native[onnx]', or leave it with verify=False",
            name=error.name,
        ) from error
    return onnxruntime


def drawn(inputs: Mapping[str, Value]) -> Feeds:
    """Inputs drawn at random, the same ones every time.

    Standard normal numbers; integers are 0 or 1, which every table has.
    """
    generator = np.random.default_rng(0)
    found = {}
    for name, value in inputs.items():
        numbers: npt.NDArray[Any] = generator.standard_normal(value.shape)
        if not np.issubdtype(value.dtype, np.floating):
            numbers = numbers > 0
        found[name] = numbers.astype(value.dtype)
    return found


class Observer:
    """Runs models on the same inputs; a `SPARE` run that fails is not made again."""

    def __init__(self, runs: Mapping[str, Feeds]) -> None:
        self.runs = dict(runs)

    def __call__(self, model: bytes) -> dict[str, Outputs]:
        """What a serialised model returns in each run.

        Raises:
            InvalidInputError: onnxruntime cannot load or run it.
        """
        onnxruntime = runtime()
        found = {}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            names = [x.name for x in session.get_outputs()]
        except Exception as error:
            raise _cannot_run(error) from error
        for run, feeds in list(self.runs.items()):
            try:
                found[run] = dict(zip(names, session.run(names, dict(feeds)), strict=True))
            except Exception as error:
                if run != SPARE:
                    raise _cannot_run(error) from error
                del self.runs[run]
        return found


def _cannot_run(error: Exception) -> InvalidInputError:
    return InvalidInputError(f"model: onnxruntime cannot run it ({type(error).__name__}: {error})")
