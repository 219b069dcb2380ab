"""The PyTorch side: tracing, diag(G) and rescaling in place. Everything here imports torch."""

from .diag_g import diag_g
from .graph import Group, Neuron, RescalingGraph
from .groups import Pinned, Unsupported
from .report import GroupReport, RescaleReport
from .rescale import rescale_
from .trace import trace

__all__ = [
    "Group",
    "GroupReport",
    "Neuron",
    "Pinned",
    "RescaleReport",
    "RescalingGraph",
    "Unsupported",
    "diag_g",
    "rescale_",
    "trace",
]
