"""Scale ids as NumPy arrays, the form in which facts keep them."""

from __future__ import annotations

import numpy as np

from ..engine import scales
from ..engine.facts import Ids
from ..engine.program import Value
from .rules import RULES

__all__ = ["Scales"]


class Scales(scales.Scales[Ids]):
    """The ids of the values of one ONNX graph."""

    rules = RULES
    product = "onnx.Mul"
    quotient = ("onnx.Div", "A")

    def given(self, ids: Ids) -> Ids:
        """The ids themselves."""
        return ids

    def read(self, ids: Ids) -> Ids:
        """The ids themselves."""
        return ids

    def is_real(self, value: Value) -> bool:
        """Whether a value is of a floating-point dtype."""
        return bool(np.issubdtype(value.dtype, np.floating))
