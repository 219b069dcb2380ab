"""ONNX graphs, rescaled without torch. Everything here imports onnx, and none of it torch."""

from .entry import rescale_onnx
from .rescale import rescale, trace
from .stats import stats

__all__ = ["rescale", "rescale_onnx", "stats", "trace"]
