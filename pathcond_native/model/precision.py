"""Products of float32 in float32, whatever torch has been told about their speed.

On GPUs convolutions are by default computed in TF32, with 10 bits: a right rescaling then moves
outputs a hundred times farther than what a wrong one is known by. The settings are the process's,
and torch.export changes them too and puts back what it found, perhaps what another thread of ours
had set: when the last of all blocks ends, they are what they were before the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

import torch

from .interruptions import Interruptions

__all__ = ["full_precision", "settings_kept"]

_Settings: TypeAlias = "tuple[Any, ...]"
"""By torch's older names, the first of which is a bool, or by its newer ones."""


@dataclass
class _Blocks:
    """Those that are being run, in any thread."""

    running: int = 0
    precise: int = 0
    """Of them, those in full precision."""
    found: _Settings = ()
    """Before the first of them."""
    lock: Lock = field(default_factory=Lock)

    def renew_lock(self) -> None:
        """In a forked child, where nobody may be left to release it."""
        self.lock = Lock()


_blocks = _Blocks()
os.register_at_fork(after_in_child=_blocks.renew_lock)


def full_precision() -> AbstractContextManager[None]:
    """Within the block, products of float32 are rounded to float32 and no less.

    Afterwards settings are what they were, whenever Ctrl-C is pressed.
    """
    return _block(precise=True)


def settings_kept() -> AbstractContextManager[None]:
    """What the block does to the settings is undone; meanwhile others may be in full precision."""
    return _block(precise=False)


@contextmanager
def _block(precise: bool) -> Iterator[None]:
    with Interruptions() as interruptions, _counted(precise), interruptions.allowed():
        yield


@contextmanager
def _counted(precise: bool) -> Iterator[None]:
    with _blocks.lock:
        if not _blocks.running:
            _blocks.found = _found()
        if precise:
            _raise()
        _blocks.running += 1
        _blocks.precise += precise
    try:
        yield
    finally:
        with _blocks.lock:
            _blocks.running -= 1
            _blocks.precise -= precise
            if not _blocks.running:
                _set(_blocks.found)
            elif _blocks.precise:
                _raise()


def _found() -> _Settings:
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # they have been set by torch's newer names, which do not mix with these
        return tuple(x.fp32_precision for x in _newer())


def _raise() -> None:
    older = isinstance(_found()[0], bool)
    _set((False, "highest") if older else ("ieee",) * len(_newer()))


def _set(wanted: _Settings) -> None:
    """Only where they differ: what is set is no longer what was never set."""
    if isinstance(wanted[0], bool):
        convolutions, products = wanted
        if torch.backends.cudnn.allow_tf32 != convolutions:
            torch.backends.cudnn.allow_tf32 = convolutions
        if torch.get_float32_matmul_precision() != products:
            torch.set_float32_matmul_precision(products)
        return
    for x, precision in zip(_newer(), wanted, strict=True):
        if x.fp32_precision != precision:
            x.fp32_precision = precision


def _newer() -> list[Any]:
    backends: Any = torch.backends
    return [
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    ]
