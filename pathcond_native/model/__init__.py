"""The PyTorch side: tracing, diag(G) and rescaling in place. Everything here imports torch."""

from ..engine.graph import Group, Neuron, RescalingGraph
from ..engine.groups import Pinned, Unsupported
from ..engine.report import GroupReport, RescaleReport
from ..engine.stats import Stats
from .conditioner import PathConditioner
from .diag_g import diag_g
from .register import register_rule
from .rescale import rescale, rescale_
from .rule import NoRule
from .stats import stats
from .trace import trace

__all__ = [
    "Group",
    "GroupReport",
    "Neuron",
    "NoRule",
    "PathConditioner",
    "Pinned",
    "RescaleReport",
    "RescalingGraph",
    "Stats",
    "Unsupported",
    "diag_g",
    "register_rule",
    "rescale",
    "rescale_",
    "stats",
    "trace",
]
