"""The command line: every command, its options and help with examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..files.registry import needs
from .exit_codes import EXIT_CODES
from .numbers import finite, real, whole

__all__ = ["COMMANDS", "Command", "build_parser"]

_ABOUT = """\
Path-conditioned rescaling of ReLU networks (arXiv 2602.19799): the same function, better
conditioned weights. Start with `demo`; send what `info` prints along with a bug report.

examples:
  pathcond rescale model.pt2 -o rescaled.pt2
  pathcond rescale mypackage.nets:build --checkpoint weights.safetensors \\
           --input 1x3x224x224 -o rescaled.safetensors
  pathcond solve B.npz g.npy -o u.npy
"""

_IN_PYTHON = """\
in Python, on a model of your own:
  from pathcond_native import rescale_
  print(rescale_(model, example_inputs))      # in place; the outputs stay the same

on a matrix B (p x H) and weights g (p), without torch:
  from pathcond_native import solve
  u = solve(B, g).u

"""

_INFO = """\
Prints the version, how the native core was built, the threads that `solve` uses by default, and
which optional packages are installed. Imports none of them. Asks the CUDA driver, if there is one,
for a device's name, and runs nothing on it.
"""

_DEMO = """\
Builds two networks in PyTorch, CIFAR-NV (eight convolutions) and an autoencoder
784-1000-500-250-30-250-500-1000-784, traces them, computes g = diag(G), minimises
F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i with the paper's ten sweeps and to the
optimum, rescales the network in place and compares its outputs before and after on random inputs
in float32. Takes about ten seconds. Everything it prints was measured in that run. Needs torch.
"""

_SOLVE = """\
Minimises F(u) = p log(sum_i g_i exp((B u)_i)) - sum_i (B u)_i. No torch needed.

examples:
  pathcond solve B.npz g.npy                          what the optimum looks like
  pathcond solve B.npz g.npy -o u.npy                 and the optimum itself
  pathcond solve B.npz g.npy --method cd -o u.npy     the paper's ten sweeps
  pathcond solve B.npz g.npy --json | jq .gradient_norm

to make the inputs in Python:
  scipy.sparse.save_npz("B.npz", graph.incidence()); numpy.save("g.npy", diag_g(model, x).numpy())
"""

_RESCALE = """\
Rescales a model in a file. The output has the input's format, dtypes, tied weights and metadata;
outputs of the model before and after are compared, and nothing is written if they differ. The file
is written beside its place, read back and compared, and takes its place in one step: a crash
leaves the old file or the new one.

MODEL is an exported program (.pt2), or package.module:factory (imported from here as by
`python -m`, called without arguments) with a --checkpoint: safetensors, or a state dict or training
checkpoint of torch.save (.pt .pth .bin .ckpt), read with weights_only. Exported programs are read
by torch.export.load, which uses pickle: only open those of people you trust. Or it is an ONNX file
(.onnx, opset 11 or later, external data too), which needs no torch: the extra [onnx].

examples:
  pathcond rescale resnet18.pt2 -o rescaled.pt2
  pathcond rescale mobilenet.onnx -o rescaled.onnx --criterion cle      before int8 quantisation
  pathcond rescale resnet18.pt2 --in-place --round-to power_of_two      the outputs keep every bit
  pathcond rescale torchvision.models:resnet18 --checkpoint resnet18.pth \\
           --input 1x3x224x224 -o rescaled.pth --max-scale 100 --report report.html
  pathcond rescale nets:build --checkpoint run.ckpt --key state_dict --input 1x128:int64 -o new.ckpt
  pathcond rescale nets:build --checkpoint big/model.safetensors.index.json --input 1x512 -o new/

Checkpoints may be larger than the memory: of shards with their index (or a folder with these), and
of a single safetensors file with --stream, little more is in memory than about three times the
largest tensor in float32, or in float64 where diag(G) needs it. OUT is then a new folder with
shards and index, or a file. It grows in a hidden folder beside it, which before takes up to 8 bytes
per parameter; after a kill or Ctrl-C the same command goes on from there. The input is never
touched, so there is no --in-place, nor is there --report. Criterion cle, and models that multiply
channels, go this way up to 4 million parameters.
"""

_STATS = """\
Counts a model's parameters, neurons and paths and measures the spread of diag(G), without changing
it: what `rescale` could do and what stands in its way. MODEL as for `rescale`; a factory needs no
checkpoint here.

examples:
  pathcond stats resnet18.pt2
  pathcond stats torchvision.models:resnet18 --input 1x3x224x224 --json
"""

_BENCH = """\
Times `solve` on this machine, on diag(G) of three networks (MLP, CIFAR-NV, autoencoder): to the
optimum, from the matrix B and by tensors, and the paper's ten sweeps, beside reading the input once
with NumPy. Medians; every answer is checked. Needs torch.

examples:
  pathcond bench
  pathcond bench --rounds 101 --json > here.json
"""

_Configure = Callable[[argparse.ArgumentParser], None]
Needs = tuple[str, tuple[str, ...]]
"""An extra of this package, and packages in it."""


@dataclass(frozen=True)
class Command:
    """One command; the module of this package with its name has ``run(arguments) -> exit code``."""

    name: str
    summary: str
    description: str
    needs: Callable[[argparse.Namespace], Needs]
    """What has to be installed, which a model's format may decide."""
    configure: _Configure


def _plain(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def _solve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "B", type=Path, help="matrix (p x H), .npz of scipy.sparse.save_npz, or .npy of numpy.save"
    )
    parser.add_argument("g", type=Path, help="weights (p), .npy of numpy.save")
    parser.add_argument("-o", "--output", type=Path, metavar="U", help="where u (H) goes, .npy")
    _solver_options(parser, "pathcond", "enorm")


def _rescale(parser: argparse.ArgumentParser) -> None:
    _model_options(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="OUT", help="the file to write")
    where.add_argument("--in-place", action="store_true", help="write the input file itself")
    parser.add_argument(
        "--report", type=Path, metavar="HTML", help="a page with tables and pictures; matplotlib"
    )
    parser.add_argument(
        "--strength",
        type=finite,
        default=1.0,
        metavar="X",
        help="0 leaves the model as it is, 1 (default) goes to the optimum",
    )
    parser.add_argument(
        "--round-to",
        choices=("power_of_two",),
        help="scales are powers of two: nothing is rounded, the outputs keep every bit",
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not compare the outputs"
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="also rescale a single .safetensors file tensor by tensor, as shards are",
    )
    _solver_options(parser, "pathcond", "enorm", "cle")


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=whole(1), default=15, metavar="N", help="of every timing (default 15)"
    )


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help=".pt2 or .onnx file, or package.module:factory"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE[:DTYPE]",
        help="an example input, such as 1x3x224x224 or 1x128:int64; once per positional argument; "
        "exported programs and most ONNX files know their own",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="the weights of what the factory builds; an index or a folder of shards",
    )
    parser.add_argument(
        "--key", help="the entry with the weights, in a checkpoint that holds several"
    )


_CRITERIA = {
    "pathcond": "F (default)",
    "enorm": "the sum of squares of the weights",
    "cle": "unequal ranges, for quantisation",
}


def _solver_options(parser: argparse.ArgumentParser, *criteria: str) -> None:
    parser.add_argument(
        "--criterion",
        choices=criteria,
        default="pathcond",
        help="what to minimise: " + "; ".join(f"{name}: {_CRITERIA[name]}" for name in criteria),
    )
    parser.add_argument(
        "--method",
        choices=("auto", "cd", "newton"),
        default="auto",
        help="auto (default) goes to the optimum; cd: the paper's ten sweeps",
    )
    parser.add_argument(
        "--tol",
        type=real(0),
        metavar="T",
        help="how near the end: max |dF/du| / p (default 1e-12); with --method cd, the sum of the "
        "changes of u in one sweep (1e-2)",
    )
    parser.add_argument(
        "--max-sweeps",
        type=whole(0),
        metavar="N",
        help="stop after this many sweeps (default 1000; with --method cd, 10)",
    )
    parser.add_argument(
        "--max-scale",
        type=real(1),
        metavar="S",
        help="keep every scale in [1/S, S]; default: no bound",
    )
    parser.add_argument(
        "--threads", type=whole(1), metavar="N", help="worker threads at most (default: all)"
    )


def _nothing(_: argparse.Namespace) -> Needs:
    return "torch", ()


def _scipy(_: argparse.Namespace) -> Needs:
    return "torch", ("scipy",)


def _torch(_: argparse.Namespace) -> Needs:
    return "torch", ("torch", "scipy")


def _of_model(arguments: argparse.Namespace) -> Needs:
    return needs(arguments.model)


COMMANDS = {
    command.name: command
    for command in (
        Command("info", "version, build and optional packages", _INFO, _nothing, _plain),
        Command("demo", "rescale two networks and print what happened", _DEMO, _torch, _plain),
        Command("solve", "minimise F for a matrix B and weights g", _SOLVE, _scipy, _solve),
        Command("rescale", "rescale a model in a file", _RESCALE, _of_model, _rescale),
        Command("stats", "count neurons and paths of a model", _STATS, _of_model, _model_options),
        Command("bench", "time the solver on this machine", _BENCH, _torch, _bench),
    )
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of everything; ``arguments.command`` is a key of `COMMANDS`, or None."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="pathcond",
        description=_ABOUT,
        epilog=_IN_PYTHON + EXIT_CODES,
        formatter_class=as_written,
    )
    parser.add_argument("--version", action="version", version=f"pathcond {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for command in COMMANDS.values():
        sub = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog=EXIT_CODES,
            formatter_class=as_written,
        )
        command.configure(sub)
        sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
        sub.add_argument("--traceback", action="store_true", help="tell where an error came from")
    return parser
