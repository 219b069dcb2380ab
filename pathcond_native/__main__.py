"""``pathcond``, also ``python -m pathcond_native``: one command per module of `cli`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .cli.exit_codes import MISSING_PACKAGE, OK, fail
from .cli.info import installed_version
from .cli.parser import COMMANDS, build_parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name, by default those of the process.

    Returns:
        Exit code, see `cli/exit_codes.py`. A wrong command line exits at once, with 2.
    """
    _speak_plainly()
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return OK
    command = COMMANDS[arguments.command]
    extra, packages = command.needs(arguments)
    missing = [name for name in packages if installed_version(name) is None]
    if missing:
        print(
            f"pathcond: `{command.name}` needs {' and '.join(missing)}, not installed here; run\n"
            f"  pip install 'pathcond-native[{extra}]'",
            file=sys.stderr,
        )
        return MISSING_PACKAGE
    try:
        module = import_module(f".cli.{command.name}", __package__)
        return int(module.run(arguments))
    except BrokenPipeError:  # `head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (Exception, KeyboardInterrupt) as error:
        return fail(error, with_traceback=arguments.traceback)


def _speak_plainly() -> None:
    """What a terminal has no letter for, such as λ, is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
