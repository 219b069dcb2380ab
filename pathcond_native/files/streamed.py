"""Checkpoints larger than the memory: tensor by tensor, all or nothing, finished after a kill."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..engine.clock import Clock
from ..engine.criteria import Criterion, check_options
from ..engine.factors import factors
from ..engine.found import Found
from ..engine.graph import RescalingGraph
from ..engine.report import RescaleReport, Verification, nothing_done, report_of
from ..engine.rounding import RoundTo
from ..errors import InvalidInputError, OutputError, VerificationError
from ..memory import exhaustion_told, ran_out
from ..model.apply import multipliers
from ..model.inputs import as_call, check_call, check_model, check_parameters
from ..model.rescale import find_scales
from ..model.trace import trace
from ..model.verify import Observation, changes, observe, runs, tolerance
from .atomic import write_atomically
from .bare import parameters_on_meta
from .example import example_inputs
from .factory import built, check_inputs
from .fitted import fit, refit
from .found import read_found, write_found
from .layout import layout_of
from .mapped import Mapped, Scratch
from .partial import Partial
from .request import Request
from .rewrite import rewrite
from .shards import shards_of

__all__ = ["Streamed"]

Stage = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Options:
    """What `rescale_` takes of the same names."""

    criterion: Criterion = "pathcond"
    strength: float = 1.0
    round_to: RoundTo | None = None
    verify: bool = True
    method: str = "auto"
    tol: float | None = None
    max_sweeps: int | None = None
    max_scale: float | None = None
    threads: int | None = None

    def of_solve(self) -> dict[str, Any]:
        """Those that go to the solver."""
        names = ("method", "tol", "max_sweeps", "max_scale", "threads")
        return {name: getattr(self, name) for name in names}


class Streamed:
    """A model that a factory builds without memory for its parameters, and files with those.

    Args:
        request: a factory with a checkpoint: an index, a folder, or one safetensors file.

    Raises:
        InvalidInputError: one of them cannot be had, or they do not fit each other.
    """

    def __init__(self, request: Request) -> None:
        assert request.checkpoint is not None
        if request.key is not None:
            raise InvalidInputError("--key: safetensors files hold one set of tensors only")
        check_inputs(request)
        self.request, self.path = request, request.checkpoint
        self.shards = shards_of(self.path)
        self.is_folder = self.path.is_dir() or self.shards.index is not None
        with parameters_on_meta():
            self.model = built(request.model)
        check_model(self.model)
        known = set(self.model.state_dict(keep_vars=True))
        extra = [*(x for x in self.shards.where if x not in known), *self.shards.unlisted]
        self.notes: list[str] = []
        if extra:
            self.notes.append(
                f"{len(extra)} tensors are none of the model's, '{extra[0]}' first: copied as "
                "they are"
            )

    @exhaustion_told("rescale")
    def rescale(self, output: Path, stage: Stage, **given: Any) -> RescaleReport:
        """Rescale into new files.

        Beside PyTorch, its trace and the model's buffers, memory is needed for about three times
        the largest parameter in the dtype of diag(G), see `reduced_diag_g`; disk space for the
        output, and before that for up to 8 bytes per parameter, 16 where that dtype has to change.

        Args:
            output: a new folder for shards, or a file for one file.
            stage: called with the name of every stage, of which there are `stages`.
            given: those of `Options`.

        Returns:
            The report. What was left by a process that was killed is not done again.

        Raises:
            OutputError: the output cannot be written.
            VerificationError: an output of the model changed, or an entry left its dtype's range.
            Everything else that `rescale_` raises. After any exception there is no output, and
            only after Ctrl-C a beginning of one to go on with.
        """
        options = Options(**given)
        solving = options.of_solve()
        check_options(
            options.criterion, options.strength, options.round_to, options.verify, solving
        )
        try:
            with (
                Partial(output, self.is_folder, self._origin(options)) as begun,
                Mapped() as mapped,
            ):
                return _Rescaling(self, options, begun, mapped, stage).run()
        except OSError as error:
            if isinstance(error, OutputError) or ran_out(error):
                raise
            raise OutputError(f"{output}: cannot be written ({error})") from error

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return 3 + len(self.shards.layouts)

    def _origin(self, options: Options) -> dict[str, Any]:
        """What the output depends on; a file is known by its header, size and times."""
        files = [x.path for x in self.shards.layouts]
        files += [self.shards.index] if self.shards.index else []
        states = [(x.name, x.stat()) for x in files]
        headers = b"".join(x.header for x in self.shards.layouts)
        return {
            "files": [[name, x.st_size, x.st_mtime_ns, x.st_ctime_ns] for name, x in states],
            "headers": hashlib.sha256(headers).hexdigest(),
            "model": self.request.model,
            "inputs": list(self.request.inputs),
            "options": {name: x for name, x in vars(options).items() if name != "threads"},
            "version": __version__,
        }


class _Rescaling:
    """One rescaling, begun or gone on with."""

    def __init__(
        self, source: Streamed, options: Options, begun: Partial, mapped: Mapped, stage: Stage
    ) -> None:
        self.source, self.options = source, options
        self.begun, self.mapped, self.stage = begun, mapped, stage
        self.model, self.clock = source.model, Clock()

    def run(self) -> RescaleReport:
        o, shards = self.options, self.source.shards
        with self.stage("reading the model"):
            self.numbers = fit(self.model, self._tensors(), self.source.path)
            check_parameters(self.model)
            inputs = example_inputs(self.source.request.inputs, self.model)
            call = as_call(inputs)
            check_call(self.model, call)
        with self.stage("tracing, solving"):
            with self.clock.stage("trace"):
                graph = trace(self.model, inputs)
            found = self._found(graph, inputs)
        if not isinstance(found, str) and o.verify:
            with self.clock.stage("observe"):
                wanted = runs(call)
                before = observe(self.model, wanted)
        self._write(graph, found)
        with self.stage("verifying"), self.clock.stage("verify"):
            refit(self.model, self._tensors(new=True), self.numbers)
            verification = Verification((), math.nan, False)
            if not isinstance(found, str) and o.verify:
                verification = self._verified(before, observe(self.model, wanted))
        self.begun.publish()
        if isinstance(found, str):
            return nothing_done(o.criterion, graph, self.clock.seconds, found)
        lost = {
            f"parameter '{name}'": count
            for layout in shards.layouts
            for name, count in self.begun.done[layout.path.name].items()
        }
        return report_of(
            o.criterion, graph, found, o.max_scale, verification, lost, self.clock.seconds
        )

    def _tensors(self, new: bool = False) -> dict[str, Tensor]:
        """The tensors that the checkpoint lists, of the input or of what was written."""
        found: dict[str, Tensor] = {}
        for layout in self.source.shards.layouts:
            if new:
                written = layout_of(self.begun.files / layout.path.name)
                if written.header != layout.header or written.size != layout.size:
                    raise VerificationError(f"{layout.path.name}: it does not read back")
                layout = written
            found |= self.mapped.tensors(layout)
        return {name: x for name, x in found.items() if name in self.source.shards.where}

    def _found(self, graph: RescalingGraph, inputs: Any) -> Found | str:
        o, path = self.options, self.begun.path("found.npz")
        if path.exists():
            return read_found(path, graph)
        space = shutil.disk_usage(path.parent).free
        if space < self.source.shards.size:
            raise OutputError(
                f"{self.begun.files}: the output takes {self.source.shards.size} bytes, and "
                f"there are {space}"
            )
        with Scratch(path.parent, self.mapped) as scratch:
            found = find_scales(
                self.model,
                inputs,
                graph,
                o.criterion,
                o.strength,
                o.round_to,
                o.of_solve(),
                self.clock,
                scratch.keep,
            )
        if not isinstance(found, str):
            write_found(found, path)
        return found

    def _write(self, graph: RescalingGraph, found: Found | str) -> None:
        log2 = None if isinstance(found, str) else graph.extended(found.log2)

        def scales(name: str) -> list[Tensor] | None:
            if log2 is None or name not in self.numbers or not log2.any():
                return None
            number = self.numbers[name]
            pair = factors(graph, log2, number)
            return None if pair is None else multipliers(pair, len(graph.parameters[number].shape))

        exact = self.options.round_to is not None
        for layout in self.source.shards.layouts:
            name, lost = layout.path.name, dict[str, int]()
            with self.stage(f"writing {name}"):
                if name in self.begun.done:
                    continue
                write = partial(rewrite, layout, scales, exact, lost)
                write_atomically(self.begun.files / name, write, like=layout.path)
                self.begun.finished(name, lost)
        index = self.source.shards.index
        if index is not None:
            content = index.read_bytes()
            write_atomically(
                self.begun.files / index.name, lambda stream: stream.write(content), like=index
            )

    def _verified(self, before: list[Observation], after: list[Observation]) -> Verification:
        exact = self.options.round_to is not None
        if not any(observation.outputs for observation in before):
            raise InvalidInputError("model: it returns no tensor, so nothing can be verified")
        found = changes(before, after, finest=tolerance(self.model), exact=exact)
        if failed := [change for change in found if not change.passed]:
            raise VerificationError(
                f"{failed[0].describe()}; whether that is rounding can be proven in memory only"
            )
        seen = tuple(observation.run for observation in before)
        return Verification(seen, max(change.error for change in found), False)
