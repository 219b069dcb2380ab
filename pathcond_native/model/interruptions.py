"""Ctrl-C, and whatever else a signal handler raises, only where everything can be put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Interruptions"]

_Handler = Callable[[int, FrameType | None], Any]


class Interruptions:
    """A block in which Python's signal handlers wait, but for the blocks inside it that allow them.

    ``with Interruptions() as interruptions, put_back(), interruptions.allowed(): ...`` is left
    either with all of `put_back` done or before its beginning, however often Ctrl-C is pressed:
    an exception can come at any instruction, also of a ``finally``. A signal that had to wait is
    raised again at the end. `allowed` has to be the last of the ``with``. Handlers run on the main
    thread; on others there is nothing to do.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._late: list[int] = []
        self._open = True

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            self._open = False
            try:
                for number in signal.valid_signals():
                    handler = signal.getsignal(number)
                    if callable(handler):
                        self._handlers[number] = handler
                        signal.signal(number, self._handle)
            except BaseException:
                self._hand_back()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._hand_back()
        for number in self._late:
            signal.raise_signal(number)

    def allowed(self) -> _Allowed:
        """A block in which handlers run at once."""
        return _Allowed(self)

    def _hand_back(self) -> None:
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        finally:
            self._open = True  # a handler that is still ours does what the old one did

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._open:
            self._late.append(number)
            return
        # What it raises is on its way to the clean-up, which the next signal must not meet.
        self._open = False
        self._handlers[number](number, frame)
        self._open = True


class _Allowed:
    def __init__(self, interruptions: Interruptions) -> None:
        self._interruptions = interruptions

    def __enter__(self) -> None:
        outer = self._interruptions
        while outer._late:
            number = outer._late.pop(0)
            outer._handlers[number](number, None)
        outer._open = True

    def __exit__(self, *_: object) -> None:
        self._interruptions._open = False
