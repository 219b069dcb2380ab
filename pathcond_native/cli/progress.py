"""Progress bars on the standard error stream, for what takes longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Progress"]

_AFTER = 1.0  # seconds
_EVERY = 0.2


class Progress:
    """A bar of stages; it shows on a terminal, if tqdm is installed, and leaves nothing behind."""

    def __init__(self, stages: int) -> None:
        self._bar: Any = None
        if sys.stderr is None:  # closed: tqdm would wait for ever
            return
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            return
        form = "{desc}: {bar:20} {n_fmt}/{total_fmt} {elapsed}"
        self._bar = tqdm(
            total=stages,
            disable=None,
            leave=False,
            delay=_AFTER,
            bar_format=form,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Progress:
        self._done = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        if self._bar is not None and not self._bar.disable:
            self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._clock.is_alive():
            self._clock.join()
        if self._bar is not None:
            self._bar.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage; the bar moves on at its end."""
        self.say(name)
        yield
        if self._bar is not None:
            self._bar.update()

    def say(self, what: str) -> None:
        """What is being done now."""
        if self._bar is not None:
            self._bar.set_description_str(what, refresh=False)

    def _tick(self) -> None:
        """The time goes on while a stage does not come back."""
        wait = _AFTER
        while not self._done.wait(wait):
            wait = _EVERY
            self._bar.refresh()
