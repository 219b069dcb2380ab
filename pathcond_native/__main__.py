"""``python -m pathcond_native``: what is installed (`info`) and what it does (`demo`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .cli import info

__all__ = ["main"]

_ABOUT = """\
Path-conditioned rescaling of ReLU networks (arXiv 2602.19799): the same function, better
conditioned weights. Start with `demo`; send what `info` prints along with a bug report.
"""

_IN_PYTHON = """\
in Python, on a model of your own:
  from pathcond_native import rescale_
  print(rescale_(model, example_inputs))      # in place; the outputs stay the same

on a matrix B (p x H) and weights g (p), without torch:
  from pathcond_native import solve
  u = solve(B, g).u
"""

_DEMO = """\
Builds two networks in PyTorch, CIFAR-NV (eight convolutions) and an autoencoder
784-1000-500-250-30-250-500-1000-784, traces them, computes g = diag(G), minimises
F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i with the paper's ten sweeps and to the
optimum, rescales the network in place and compares its outputs before and after on random inputs
in float32. Takes about ten seconds. Everything it prints was measured in that run. Needs torch.
"""

_INFO = """\
Prints the version, how the native core was built, the threads that `solve` uses by default, and
which optional packages are installed. Imports none of them. Asks the CUDA driver, if there is one,
for a device's name, and runs nothing on it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name, by default those of the process.

    Returns:
        Exit status: 0, or 2 where a package that the command needs is not installed.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if arguments.command == "info":
        return info.run(as_json=arguments.json)
    missing = [name for name in ("torch", "scipy") if info.installed_version(name) is None]
    if missing:
        print(
            f"pathcond: `demo` needs {' and '.join(missing)}, not installed here; run\n"
            "  pip install 'pathcond-native[torch]'",
            file=sys.stderr,
        )
        return 2
    from .cli import demo

    return demo.run(as_json=arguments.json)


def _parser() -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m pathcond_native",
        description=_ABOUT,
        epilog=_IN_PYTHON,
        formatter_class=as_written,
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, summary, description in (
        ("info", "version, build and optional packages", _INFO),
        ("demo", "rescale two networks and print what happened", _DEMO),
    ):
        command = commands.add_parser(
            name, help=summary, description=description, formatter_class=as_written
        )
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
