"""`rescale_onnx`: read, diag(G), solve, apply, verify; nothing changes if anything is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto

from ..engine.clock import Clock
from ..engine.criteria import Criterion, check_options, find
from ..engine.graph import RescalingGraph
from ..engine.groups import partition
from ..engine.report import RescaleReport, Verification, nothing_done, report_of
from ..engine.rounding import RoundTo
from ..errors import InvalidInputError, VerificationError
from ..memory import exhaustion_told
from .network import Network, network
from .proof import is_rounding
from .running import Observer, runtime
from .scales import Scales
from .spread import spreads
from .verify import changes, feeds_of
from .weights import check_finite, problem, rescaled_values

__all__ = ["rescale", "trace"]

Inputs = Mapping[str, "npt.NDArray[Any] | Sequence[int]"]


def trace(model: ModelProto, inputs: Inputs | None = None) -> RescalingGraph:
    """Find the rescalable neurons of a graph, which is not changed.

    Args, raises: as for `rescale`. Parameters are the float initialisers with at least one axis, in
    the order of the graph, less those that are no weights, such as running statistics.
    """
    return graph_of(read(model, inputs))


@exhaustion_told("rescale_onnx")
def rescale(
    model: ModelProto,
    inputs: Inputs | None = None,
    *,
    criterion: Criterion = "pathcond",
    method: Literal["auto", "cd", "newton"] = "auto",
    tol: float | None = None,
    max_sweeps: int | None = None,
    max_scale: float | None = None,
    strength: float = 1.0,
    round_to: RoundTo | None = None,
    verify: bool = True,
    threads: int | None = None,
    spread: bool = False,
) -> RescaleReport:
    """Rescale an ONNX model in place so that its path kernel is best conditioned.

    As `pathcond_native.rescale_`, without torch. What changes is the values of float initialisers;
    nodes, names, order, metadata and all else stay. Weights that the graph uses in ways that no
    rescaling allows (integers, quantised, shared) stay too, as the report says.

    Args:
        model: opset 11 or later, with its external data loaded, as `onnx.load` does.
        inputs: arrays, or shapes, by name. Arrays are also used for verification, beside random
            inputs. Where an input is not given, a first axis of open size is taken to be 1.
        verify: compare what onnxruntime computes before and after. No output may move by more than
            1e-5 (float32), 1e-12 (float64) or 2e-2 (float16) of its largest entry; more is accepted
            where that is proven to be rounding (`onnx/proof.py`).
        criterion, method, tol, max_sweeps, max_scale, strength, round_to, threads, spread: as for
            `pathcond_native.rescale_`.

    Returns:
        What was rescaled, what was not and why, and how far the outputs moved.

    Raises:
        InvalidInputError: an argument is unusable, the model is malformed, or a weight is NaN.
        TraceError: shapes inside the graph cannot be inferred.
        VerificationError: an output changed, or an entry left its dtype's range.
        OutOfMemoryError: memory ran out.
        ModuleNotFoundError: onnxruntime is not installed, and `verify` is on.
        After any exception the model is as it was.
    """
    options: dict[str, Any] = {
        "method": method,
        "tol": tol,
        "max_sweeps": max_sweeps,
        "max_scale": max_scale,
        "threads": threads,
    }
    check_options(criterion, strength, round_to, verify, options)
    if verify:
        runtime()
    clock = Clock()
    with clock.stage("trace"):
        net = read(model, inputs)
        check_finite(net)
        graph = graph_of(net)
    if not graph.neurons:
        return nothing_done(criterion, graph, clock.seconds, "it has no rescalable neuron")
    with clock.stage("diag_g" if criterion == "pathcond" else "weights"):
        wanted = problem(criterion, net, graph)
    if wanted.nothing is not None:
        return nothing_done(criterion, graph, clock.seconds, wanted.nothing)
    found = find(wanted, strength, round_to, options, clock)
    measured = None
    if spread:
        with clock.stage("spread"):
            measured = spreads(net, graph, found.log2)
    with clock.stage("apply"):
        exact = round_to is not None
        moved = list(rescaled_values(net, graph, found.log2, exact))
    values = {number: new for number, new, _ in moved}
    verification = Verification((), math.nan, False)
    if verify:
        with clock.stage("verify"):
            verification = _verified(net, graph, values, exact, inputs)
    for number, new in values.items():
        _write(net.tensors[number], new)
    underflow = {f"initialiser '{graph.parameters[number].name}'": n for number, _, n in moved if n}
    return report_of(
        criterion, graph, found, max_scale, verification, underflow, clock.seconds, measured
    )


def read(model: ModelProto, inputs: Inputs | None) -> Network:
    """The network of a model that is fit for it.

    Raises:
        InvalidInputError: it is not.
    """
    if not isinstance(model, ModelProto):
        raise InvalidInputError(f"model: expected an onnx.ModelProto, got {type(model).__name__}")
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise InvalidInputError(f"model: it is malformed ({_first_line(error)})") from error
    versions = [x.version for x in model.opset_import if x.domain in ("", "ai.onnx")]
    if versions and min(versions) < 11:
        raise InvalidInputError(
            f"model: opset 11 or later is supported, got {min(versions)}; "
            "onnx.version_converter.convert_version converts it"
        )
    shapes = {
        name: tuple(x.shape) if isinstance(x, np.ndarray) else tuple(int(n) for n in x)
        for name, x in (inputs or {}).items()
    }
    return network(model, shapes)


def graph_of(net: Network) -> RescalingGraph:
    """The rescaling symmetry of a network."""
    return RescalingGraph(net.program, partition(Scales, net.program))


def _verified(
    net: Network,
    graph: RescalingGraph,
    values: dict[int, npt.NDArray[Any]],
    exact: bool,
    inputs: Inputs | None,
) -> Verification:
    arrays = {name: x for name, x in (inputs or {}).items() if isinstance(x, np.ndarray)}
    complete = arrays if arrays.keys() == net.inputs.keys() else None
    observe = Observer(feeds_of(net, complete))

    def serialised(values: Mapping[int, npt.NDArray[Any]]) -> bytes:
        copy = ModelProto()
        copy.CopyFrom(net.model)
        own = {x.name: x for x in copy.graph.initializer}
        for number, new in values.items():
            _write(own[net.tensors[number].name], new)
        return bytes(copy.SerializeToString())

    dtypes = [net.array(n).dtype for n in range(len(net.tensors))]
    before = observe(net.model.SerializeToString())
    found = changes(before, observe(serialised(values)), dtypes, exact)
    failed = [change for change in found if not change.passed]
    # Powers of two round nothing, so there is no rounding to excuse a change.
    if failed and (exact or not is_rounding(net, graph, observe, before, serialised, failed)):
        raise VerificationError(failed[0].describe())
    worst = max((change.error for change in found), default=0.0)
    return Verification(tuple(observe.runs), worst, bool(failed))


def _write(tensor: TensorProto, values: npt.NDArray[Any]) -> None:
    """Give an initialiser new values; its name, dtype and all else stay."""
    for field in ("float_data", "double_data", "int32_data"):
        tensor.ClearField(field)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    tensor.raw_data = np.ascontiguousarray(little).tobytes()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
