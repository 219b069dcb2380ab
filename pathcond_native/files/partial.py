"""An output of several files that appears as a whole, and is finished after a kill.

It grows in a hidden folder ``.NAME.partial`` beside its place, with a journal of what is done. Only
a kill or Ctrl-C leaves that folder behind; the same command then goes on where it ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, OutputError
from .atomic import sync, write_atomically

__all__ = ["Partial"]


class Partial:
    """What there is of an output.

    Args:
        output: where it is to appear: a folder, which must not hold anything yet, or a file.
        is_folder: which of both.
        origin: plain data; what was begun from another origin is not gone on with.

    Raises:
        OutputError: the output cannot be written, or is being written by another process.
        InvalidInputError: there is a beginning of another origin.
    """

    def __init__(self, output: Path, is_folder: bool, origin: dict[str, Any]) -> None:
        self._output = output.resolve()
        self._is_folder, self._origin = is_folder, origin
        self._folder = self._output.with_name(f".{self._output.name}.partial")
        self.files = self._folder / "files"
        self.done: dict[str, Any] = {}
        """What `finished` was told, by name."""

    def __enter__(self) -> Partial:
        out = self._output
        if self._is_folder and out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise OutputError(f"{out}: it exists already; the output is a new folder")
        if not self._is_folder and out.is_dir():
            raise OutputError(f"{out}: it is a folder; the output is a file")
        try:
            self._folder.mkdir(exist_ok=True)
            self._lock = os.open(self._folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise OutputError(f"{out}: another process is writing it") from error
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
        try:
            self._go_on()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def path(self, name: str) -> Path:
        """A place for what is needed to go on and no part of the output."""
        return self._folder / name

    def finished(self, name: str, facts: Any) -> None:
        """A file of the output is complete; facts are plain data."""
        self.done[name] = facts
        self._note()

    def publish(self) -> None:
        """Move the output to its place in one step."""
        if self._is_folder:
            sync(self.files)
            self.files.rename(self._output)
        else:
            [file] = self.files.iterdir()
            file.replace(self._output)
        sync(self._output.parent)

    def _go_on(self) -> None:
        """Read the journal; what it does not know of goes."""
        journal = self.path("journal.json")
        if journal.exists():
            held = json.loads(journal.read_bytes())
            if held["origin"] != self._origin:
                odd = [k for k in self._origin if held["origin"].get(k) != self._origin[k]]
                raise InvalidInputError(
                    f"{self._folder}: this output was begun from something else (its "
                    f"{', '.join(odd)} differ); delete that folder to begin anew"
                )
            self.done = held["done"]
            for file in self.files.iterdir():
                if file.name not in self.done:
                    file.unlink()
            return
        for left in self._folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.files.mkdir()
        self._note()

    def _note(self) -> None:
        text = json.dumps({"origin": self._origin, "done": self.done})
        write_atomically(self.path("journal.json"), lambda stream: stream.write(text.encode()))
