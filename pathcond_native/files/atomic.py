"""A file takes its new content whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..errors import OutputError

__all__ = ["check_writable", "sync", "write_atomically"]


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written; nothing is left behind.

    Raises:
        OutputError: the file cannot be written.
    """
    hidden, descriptor = _open_beside(path, None)
    os.close(descriptor)
    hidden.unlink()


def write_atomically(
    path: Path,
    write: Callable[[IO[bytes]], object],
    *,
    check: Callable[[Path], object] | None = None,
    like: Path | None = None,
) -> None:
    """Write a file that at no time, not even after a kill or a power cut, is half written.

    The content goes to a hidden file beside it (``.NAME.….tmp.SUFFIX``, which only a kill leaves
    behind), reaches the disk, and takes the name in one step.

    Args:
        path: where to; a symbolic link is followed. A file that is there keeps its permissions.
        write: called with a binary stream that can be read and written.
        check: called with the path of the complete hidden file; if it raises, nothing changes.
        like: a new file gets this file's permissions (less the umask).

    Raises:
        OutputError: the file cannot be written.
        Everything that `write` and `check` raise; then the old file is still there.
    """
    hidden, descriptor = _open_beside(path, like)
    target = path.resolve()
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if check is not None:
            check(hidden)
        hidden.replace(target)
        sync(target.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    finally:
        hidden.unlink(missing_ok=True)


def _open_beside(path: Path, like: Path | None) -> tuple[Path, int]:
    """The hidden file, and its descriptor."""
    target = path.resolve()
    hidden = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        return hidden, _create(hidden, target, like)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _create(hidden: Path, target: Path, like: Path | None) -> int:
    """A descriptor of the hidden file, with the permissions that the target is to have."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    if not target.exists():
        return os.open(hidden, flags, 0o666 if like is None else like.stat().st_mode & 0o777)
    with target.open("r+b"):  # permission to write to the file, not only to its folder
        mode = target.stat().st_mode & 0o7777
    descriptor = os.open(hidden, flags, mode & 0o777)
    os.fchmod(descriptor, mode)  # whatever the umask is
    return descriptor


def sync(folder: Path) -> None:
    """New names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
