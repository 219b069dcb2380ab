"""Exit codes, and errors as one line."""

from __future__ import annotations

import re
import sys
import traceback

from ..errors import OutputError, PathcondError, VerificationError

__all__ = ["EXIT_CODES", "FAILED", "MISSING_PACKAGE", "OK", "UsageError", "fail"]

OK, FAILED, USAGE, BAD_INPUT, MISSING_PACKAGE, BAD_OUTPUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # torch has some in its messages

EXIT_CODES = """\
exit codes:
  0    done
  1    it did not hold: outputs changed (nothing was written), or no convergence
  2    the command line is wrong
  3    an input cannot be used: no such file, not a model, not traceable, NaN
  4    a package that the command needs is not installed
  5    the output cannot be written; what was there before still is
  130  interrupted; nothing was written
"""


class UsageError(PathcondError):
    """Options that do not go together, or not with this input."""


def fail(error: BaseException, *, with_traceback: bool) -> int:
    """Print an error as one line on the standard error stream; return the exit code."""
    if with_traceback:
        traceback.print_exception(error)
    message = " ".join(_COLOURS.sub("", str(error)).split()) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        message = "interrupted"
    elif not isinstance(error, (PathcondError, OSError, ModuleNotFoundError)):
        message = f"{type(error).__name__}: {message} (--traceback tells where)"
    print(f"pathcond: {message}", file=sys.stderr)
    return _code(error)


def _code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, OutputError):
        return BAD_OUTPUT
    if isinstance(error, ModuleNotFoundError):
        return MISSING_PACKAGE
    return FAILED if isinstance(error, VerificationError) else BAD_INPUT
