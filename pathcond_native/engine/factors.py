"""What a rescaling multiplies a parameter by."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .. import _core
from .graph import RescalingGraph
from .rounding import power_of_two

__all__ = ["Pair", "factors", "multiplied"]

Pair: TypeAlias = "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]"


def factors(
    graph: RescalingGraph, exponents: npt.NDArray[np.float64], number: int, power: float = 1.0
) -> Pair | None:
    """s^power, where s is what parameter `number` is multiplied by; None if it is in no neuron.

    Args:
        graph: of the model.
        exponents: `graph.extended` of log2 λ.
        number: as ``model.parameters()`` counts.
        power: any real number.

    Returns:
        Two float64 arrays that broadcast to the parameter's shape; s^power is their product.
    """
    columns = graph.columns(number)
    if columns is None:
        return None
    entered, left = (power * exponents[side] for side in columns)
    middle = np.rint(entered.mean())  # λ itself may be out of range, the ratio of two is not
    return power_of_two(entered - middle), power_of_two(middle - left)


def multiplied(
    x: npt.NDArray[np.floating], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """x · first · second in float64, also where x · first leaves its range.

    Args:
        x: at most float64.
        first, second: what `factors` says of it. All three broadcast.
    """
    parts = np.broadcast_arrays(x, first, second)
    product, by_first, by_second = (y.astype(np.float64).reshape(1, -1) for y in parts)
    _core.scale(product, by_first, by_second, product, 1)
    return product.reshape(parts[0].shape)
