"""Products of float32 in float32, whatever torch has been told about their speed.

On GPUs convolutions are by default computed in TF32, with 10 bits: a right rescaling then moves
outputs a hundred times farther than what a wrong one is known by. The settings are the process's,
so that all who change them, in any thread, take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, get_ident, local
from typing import Any

import torch

from .interruptions import Interruptions

__all__ = ["full_precision", "settings_alone"]


@dataclass
class _Turns:
    """Whose turn it is, of all threads: settings are the process's."""

    precise: int = 0
    """Blocks in full precision that are being run."""
    put_back: Callable[[], None] = lambda: None
    alone: int | None = None
    """The thread that is alone, so many times."""
    depth: int = 0
    mine: local = field(default_factory=local)
    changed: Condition = field(default_factory=Condition)

    def my_blocks(self) -> int:
        return getattr(self.mine, "precise", 0)


_turns = _Turns()


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the block, products of float32 are rounded to float32 and no less.

    The first block of all threads to begin sets that, the last to end puts back what was set,
    whenever Ctrl-C is pressed.
    """
    with Interruptions() as interruptions, _settings_raised(), interruptions.allowed():
        yield


@contextmanager
def settings_alone() -> Iterator[None]:
    """Within the block, which one thread at a time enters, no other thread's block is run.

    torch.export changes the same settings and puts back those that it found.
    """
    with Interruptions() as interruptions, _alone(), interruptions.allowed():
        yield


@contextmanager
def _settings_raised() -> Iterator[None]:
    turns, me = _turns, get_ident()
    with turns.changed:
        turns.changed.wait_for(lambda: turns.alone in (None, me))
        if not turns.precise:
            turns.put_back = _raised()
        turns.precise += 1
        turns.mine.precise = turns.my_blocks() + 1
    try:
        yield
    finally:
        with turns.changed:
            turns.mine.precise -= 1
            turns.precise -= 1
            if not turns.precise:
                turns.put_back()
                turns.changed.notify_all()


@contextmanager
def _alone() -> Iterator[None]:
    turns, me = _turns, get_ident()

    def my_turn() -> bool:
        # A model that traces another one while it runs in full precision would wait for itself.
        free = not turns.precise or turns.my_blocks() > 0
        return turns.alone == me or (turns.alone is None and free)

    with turns.changed:
        turns.changed.wait_for(my_turn)
        turns.alone = me
        turns.depth += 1
    try:
        yield
    finally:
        with turns.changed:
            turns.depth -= 1
            if not turns.depth:
                turns.alone = None
                turns.changed.notify_all()


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
