"""torchvision beside PyTorch's build for CPUs, which lacks two operators that it asks for."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch


@cache
def _operators() -> torch.library.Library:
    """Their definitions, which live as long as this object."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def models() -> ModuleType:
    """``torchvision.models``."""
    _operators()
    import torchvision.models

    return torchvision.models
