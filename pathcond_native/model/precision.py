"""Products of float32 in float32, whatever torch has been told about their speed.

On GPUs convolutions are by default computed in TF32, with 10 bits: a right rescaling then moves
outputs a hundred times farther than what a wrong one is known by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch

from .interruptions import Interruptions

__all__ = ["full_precision"]


@dataclass
class _Blocks:
    """Those that are being run, in any thread: settings are the process's."""

    running: int = 0
    put_back: Callable[[], None] = lambda: None
    lock: Lock = field(default_factory=Lock)


_blocks = _Blocks()


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the block, products of float32 are rounded to float32 and no less.

    The first block of all threads to begin sets that, the last to end puts back what was set,
    whenever Ctrl-C is pressed.
    """
    with Interruptions() as interruptions, _settings_raised(), interruptions.allowed():
        yield


@contextmanager
def _settings_raised() -> Iterator[None]:
    with _blocks.lock:
        if not _blocks.running:
            _blocks.put_back = _raised()
        _blocks.running += 1
    try:
        yield
    finally:
        with _blocks.lock:
            _blocks.running -= 1
            if not _blocks.running:
                _blocks.put_back()


def _raised() -> Callable[[], None]:
    """Sets full precision; returns what puts the settings back."""
    try:
        convolutions = torch.backends.cudnn.allow_tf32
        products = torch.get_float32_matmul_precision()
    except RuntimeError:  # they have been set by torch's newer names, which do not mix with these
        return _raised_by_newer_names()
    # What is set is no longer what was never set: only where it has to be.
    if convolutions:
        torch.backends.cudnn.allow_tf32 = False
    if products != "highest":
        torch.set_float32_matmul_precision("highest")

    def put_back() -> None:
        if convolutions:
            torch.backends.cudnn.allow_tf32 = True
        if products != "highest":
            torch.set_float32_matmul_precision(products)

    return put_back


def _raised_by_newer_names() -> Callable[[], None]:
    backends: Any = torch.backends
    settings = [
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    ]
    before = [x.fp32_precision for x in settings]
    for x in settings:
        x.fp32_precision = "ieee"

    def put_back() -> None:
        for x, precision in zip(settings, before, strict=True):
            x.fp32_precision = precision

    return put_back
