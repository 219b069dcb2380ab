"""Scale ids as torch tensors, the form in which rules move them as they move lifted values."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine import scales
from ..engine.facts import Ids
from .program import Value
from .rules import RULES

__all__ = ["Scales"]


class Scales(scales.Scales[Tensor]):
    """The ids of one traced program's values; tensors and facts share their memory."""

    rules = RULES
    product = "aten.mul"
    quotient = ("aten.div", "self")

    def given(self, ids: Ids) -> Tensor:
        """Ids as a tensor."""
        return torch.from_numpy(ids)

    def read(self, ids: Tensor) -> Ids:
        """Ids of a tensor."""
        found: Ids = ids.numpy()
        return found

    def is_real(self, value: Value) -> bool:
        """Whether a value is of a floating-point dtype."""
        return bool(value.dtype.is_floating_point)
