"""Does a graph still compute the same function? Observed with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine.tolerance import TOLERANCE
from .network import Network
from .running import SPARE, Feeds, Outputs, drawn

__all__ = ["Change", "changes", "feeds_of"]


@dataclass(frozen=True)
class Change:
    """How far one output moved, relative to its largest entry."""

    run: str
    output: str
    dtype: np.dtype[Any]
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the change is within what is allowed; NaN is not."""
        return self.error <= self.allowed

    def describe(self) -> str:
        """What changed, where, and what would have been allowed, for an error message."""
        limit = f"allowed: {self.allowed:.0e}" if self.allowed else "expected the same bits"
        return (
            f"rescaling changed output '{self.output}' by {self.error:.1e} relative to its largest "
            f"entry on {self.run} ({limit} for {self.dtype}); nothing was changed"
        )


def feeds_of(network: Network, examples: Feeds | None) -> dict[str, Feeds]:
    """What to run: random inputs, and the examples if there are some.

    Where the model leaves the size of a batch open, also one of another size, which is `SPARE`:
    graphs may say that it is open, and then hold a size all the same.
    """
    found: dict[str, Feeds] = {} if examples is None else {"the example inputs": examples}
    found["random inputs"] = drawn(network.inputs)
    if network.open_batch:
        larger = {
            name: replace(x, shape=(2 * x.shape[0], *x.shape[1:]))
            if name in network.open_batch
            else x
            for name, x in network.inputs.items()
        }
        found[SPARE] = drawn(larger)
    return found


def changes(
    before: Mapping[str, Outputs],
    after: Mapping[str, Outputs],
    weights: Sequence[np.dtype[Any]],
    exact: bool,
) -> list[Change]:
    """How far each output moved.

    Allowed is the tolerance of the output's dtype, or of the finest weights where that is more;
    `exact` allows no change at all, and integers are never allowed to change.
    """
    finest = min((TOLERANCE[x.name] for x in weights), default=0.0)
    found = []
    for run, outputs in before.items():
        for name, old in outputs.items():
            new = after[run][name]
            dtype = getattr(old, "dtype", np.dtype(object))
            real = np.issubdtype(dtype, np.floating)
            allowed = max(finest, TOLERANCE.get(dtype.name, 0.1)) if real and not exact else 0.0
            found.append(Change(run, name, dtype, _relative_change(old, new), allowed))
    return found


def _relative_change(old: Any, new: Any) -> float:
    """max|new - old| / max|old| over finite entries; infinite if the others differ."""
    if not isinstance(old, np.ndarray) or not np.issubdtype(old.dtype, np.number):
        return 0.0 if np.array_equal(old, new) else np.inf
    if old.shape != new.shape or old.dtype != new.dtype:
        return np.inf
    finite = np.isfinite(old)
    if not np.array_equal(old[~finite], new[~finite], equal_nan=True):
        return np.inf
    a, b = old[finite].astype(np.float64), new[finite].astype(np.float64)
    change = float(np.abs(b - a).max(initial=0.0))
    if change == 0.0:
        return 0.0
    largest = float(np.abs(a).max(initial=0.0))
    return change / largest if largest else np.inf
