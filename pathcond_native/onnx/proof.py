"""Is a change of the outputs rounding? Decided by rescalings that round nothing.

A network may amplify rounding beyond any fixed tolerance. Two facts together prove a rescaling
right then. The same neurons, rescaled by powers of two, leave every bit of the outputs as it is:
sums, products and comparisons of numbers scaled alike round alike, so that nothing but a true
symmetry does that. And the outputs moved by no more than they do when every weight is moved by one
rounding, in place of the rescaling's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine.graph import RescalingGraph
from ..errors import VerificationError
from .network import Network
from .running import Observer, Outputs
from .verify import Change, changes
from .weights import rescaled_values

__all__ = ["is_rounding"]

_MORE = 10.0  # times what one rounding of every weight does
_MOST = 1e-2  # a network that amplifies rounding to this much proves nothing
_FARTHEST = 3  # powers of two, so that nothing underflows

Serialise = Callable[[dict[int, npt.NDArray[Any]]], bytes]


def is_rounding(
    network: Network,
    graph: RescalingGraph,
    observe: Observer,
    before: dict[str, Outputs],
    serialised: Serialise,
    moved: Sequence[Change],
) -> bool:
    """Whether outputs moved by what rounding the weights does to this network.

    Args:
        network, graph: as they were.
        observe, before: what the network returns.
        serialised: the model with some initialisers replaced.
        moved: the changes that went too far.
    """
    dtypes = [network.array(n).dtype for n in range(len(network.tensors))]
    powers = np.random.default_rng(0).integers(-_FARTHEST, _FARTHEST + 1, graph.shape[1])
    try:
        values = rescaled_values(network, graph, powers.astype(np.float64), exact=True)
        symmetric = {number: new for number, new, _ in values}
    except VerificationError:
        return False
    if not all(c.passed for c in changes(before, observe(serialised(symmetric)), dtypes, True)):
        return False
    nudged = {n: _nudged(network.array(n)) for n in range(len(network.tensors))}
    noise = {
        (c.run, c.output): c.error
        for c in changes(before, observe(serialised(nudged)), dtypes, False)
    }
    return all(
        noise[c.run, c.output] <= _MOST and c.error <= _MORE * noise[c.run, c.output] for c in moved
    )


def _nudged(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every entry moved by one rounding, up or down at random."""
    signs = np.random.default_rng(0).integers(0, 2, x.shape) * 2 - 1
    return np.asarray(x * (1 + signs * np.finfo(x.dtype).eps), x.dtype)
