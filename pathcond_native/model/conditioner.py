"""`PathConditioner`: rescales a model every so many steps while it is being trained."""

from __future__ import annotations

import inspect
import operator
from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..engine.criteria import check_options
from ..engine.report import RescaleReport
from ..errors import InvalidInputError
from .inputs import ExampleInputs, check_parameters, unwrapped
from .optimizer_state import moving_tensors
from .rescale import rescale_
from .trace import trace

__all__ = ["PathConditioner"]

_MOST = 100  # reports that are kept

_DEFAULTS = {
    name: x.default
    for name, x in inspect.signature(rescale_).parameters.items()
    if x.kind is x.KEYWORD_ONLY and name not in ("graph", "optimizer", "powers", "spread")
}


class PathConditioner:
    """Path-conditioned training (arXiv 2602.19799): `rescale_` at chosen steps.

    Call `step` once after every ``optimizer.step()``; with a gradient scaler after
    ``scaler.step(optimizer)``. Each rescaling changes the model, its gradients and the optimiser's
    state as `rescale_` with `optimizer` does, from where training stands; a step that is not due,
    and a rescaling by λ = 1 exactly, change no bit of anything. What else holds parameters, such as
    an average of weights, is not touched. Under data parallelism each process does the same.

    Args:
        model: as for `rescale_`, wrapped or not; traced once, now.
        optimizer: the one that trains it; parameters that it does not hold are rescaled too.
        example_inputs: as for `rescale_`; kept, for verification.
        every: steps from one rescaling to the next.
        first: number of the step after which the first one is due; default `every`.
        max_times: how many `step` makes at most; default no limit.
        powers: as for `rescale_`.
        options: ``criterion``, ``strength``, ``round_to``, ``verify``, ``method``, ``tol``,
            ``max_sweeps``, ``max_scale``, ``threads``, with the meaning and the defaults of
            `rescale_`.

    Raises:
        InvalidInputError: an argument is unusable, or it is not known how the optimiser's state
            scales.
        TraceError: the model could not be captured.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        example_inputs: ExampleInputs,
        *,
        every: int,
        first: int | None = None,
        max_times: int | None = None,
        powers: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        self._every = _at_least_one("every", every)
        self._first = self._every if first is None else _at_least_one("first", first)
        self._max_times = None if max_times is None else _at_least_one("max_times", max_times)
        _check(options)
        self._graph = trace(model, example_inputs)
        check_parameters(unwrapped(model))
        moving_tensors(unwrapped(model), optimizer, powers)
        self._model = model
        self._example_inputs = example_inputs
        self._options = {**options, "optimizer": optimizer, "powers": powers}
        self._steps = 0
        self._times = 0
        self._reports: deque[RescaleReport] = deque(maxlen=_MOST)

    @property
    def steps(self) -> int:
        """How often `step` was called."""
        return self._steps

    @property
    def times(self) -> int:
        """How often `step` rescaled."""
        return self._times

    @property
    def reports(self) -> tuple[RescaleReport, ...]:
        """The latest reports of this object, at most 100, oldest first; not part of its state."""
        return tuple(self._reports)

    @property
    def last_report(self) -> RescaleReport | None:
        """The latest report, if any."""
        return self._reports[-1] if self._reports else None

    def step(self) -> RescaleReport | None:
        """Count one training step, and rescale if one is due after it.

        Returns:
            The report, or None if none was due.

        Raises:
            Everything that `rescale_` raises. Model and optimiser are then as they were; the step
            is counted, the rescaling is not.
        """
        self._steps += 1
        since = self._steps - self._first
        if since < 0 or since % self._every or self._times == self._max_times:
            return None
        report = self.rescale()
        self._times += 1
        return report

    def rescale(self) -> RescaleReport:
        """Rescale now. It counts neither as a step nor towards `max_times`.

        Raises:
            Everything that `rescale_` raises. Model and optimiser are then as they were.
        """
        report = rescale_(self._model, self._example_inputs, graph=self._graph, **self._options)
        self._reports.append(report)
        return report

    def state_dict(self) -> dict[str, int]:
        """The two counters, for a checkpoint beside those of the model and the optimiser."""
        return {"steps": self._steps, "times": self._times}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a checkpoint; an object with other arguments goes on with its own.

        Raises:
            InvalidInputError: it is not what `state_dict` returned; nothing was changed.
        """
        if not isinstance(state, Mapping) or set(state) != set(self.state_dict()):
            what = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise InvalidInputError(
                f"state: expected the dict that state_dict returned, with the keys "
                f"{sorted(self.state_dict())}; got {what}"
            )
        steps, times = (_integer(key, state[key], 0) for key in ("steps", "times"))
        self._steps, self._times = steps, times

    def __repr__(self) -> str:
        options = {k: x for k, x in self._options.items() if k != "optimizer" and x is not None}
        shown = {
            "every": self._every,
            "first": self._first,
            "max_times": self._max_times,
            **options,
            "steps": self._steps,
            "times": self._times,
            "neurons": self._graph.shape[1],
        }
        names = (type(x).__name__ for x in (unwrapped(self._model), self._options["optimizer"]))
        return f"PathConditioner({', '.join([*names, *(f'{k}={x!r}' for k, x in shown.items())])})"


def _check(options: dict[str, Any]) -> None:
    for name in options:
        if name not in _DEFAULTS:
            raise InvalidInputError(
                f"{name}: no such option; expected some of {', '.join(_DEFAULTS)}"
            )
    all_options = {**_DEFAULTS, **options}
    of_rescaling = ("criterion", "strength", "round_to", "verify")
    criterion, strength, round_to, verify = map(all_options.pop, of_rescaling)
    check_options(criterion, strength, round_to, verify, all_options)


def _at_least_one(name: str, value: Any) -> int:
    return _integer(name, value, 1)


def _integer(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise InvalidInputError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return number
