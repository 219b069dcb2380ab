"""Capture: a model's operators as a functional graph, by torch.export.

`run_decompositions` makes any exported graph functional, at twice the cost of the export itself. A
graph needs it only for operators that decompose into others and have no rule, and for operators
that write where another operator may look. In-place activations and sums do neither: they write to
a tensor that one operator has just made and that only they read.
"""

from __future__ import annotations

import operator
import threading
import warnings
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from ..errors import TraceError
from ..memory import ran_out
from .attributes import attributes_kept
from .inputs import mode
from .precision import settings_kept
from .rules import RULES

__all__ = ["capture", "operator_name"]

_EINSUM = torch.ops.aten.einsum.default

_ONE_AT_A_TIME = threading.RLock()
"""torch.export changes state of the whole process while it runs, as does ignoring warnings."""

# What they return shares memory with nothing: their output may be written to.
_MAKE_NEW_TENSORS = {
    *(f"aten.{name}{rank}d" for name in ("conv", "conv_transpose") for rank in (1, 2, 3)),
    *(f"aten.{name}" for name in ("linear", "batch_norm", "group_norm", "layer_norm")),
    *(
        f"aten.{name}"
        for name in ("add", "sub", "mul", "div", "matmul", "bmm", "addmm", "cat", "clone")
    ),
}


def _products(*operands: Any, **options: Any) -> Any:
    """An einsum as PyTorch's own permutations and batched products."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return _EINSUM._op_dk(key, *operands, **options)


# Everything else stays whole and has a rule, or ends paths.
_DECOMPOSED = {_EINSUM: _products}


def capture(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool = False
) -> ExportedProgram:
    """Export a model in one mode; no operator of the graph writes to a tensor that another reads.

    Raises:
        TraceError: torch.export cannot capture it; the message says what to do.
    """
    # Without gradients, `no_grad` blocks inside the model leave no trace in the graph.
    with (
        _ONE_AT_A_TIME,
        settings_kept(),
        attributes_kept(model),
        mode(model, training),
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            exported = torch.export.export(model, args, kwargs, strict=False)
            _show_aliases(exported.graph)
            if not _made_functional(exported.graph):
                exported.graph_module.recompile()
                exported = exported.run_decompositions(_DECOMPOSED)
        except Exception as error:
            if ran_out(error):
                raise
            raise TraceError(_remedy(model, error)) from error
    return exported


def operator_name(op: torch._ops.OpOverload) -> str:
    """Such as ``aten.conv2d``; overloads share it."""
    return str(op._schema.name).replace("::", ".")


def _show_aliases(graph: fx.Graph) -> None:
    """Dropout that drops nothing returns its operand itself, which its schema does not tell."""
    for node in graph.nodes:
        if node.target in (torch.ops.aten.dropout.default, torch.ops.aten.dropout_.default):
            operand, p, train = node.args
            if p == 0 or not train:
                node.target, node.args = torch.ops.aten.alias.default, (operand,)


def _made_functional(graph: fx.Graph) -> bool:
    """Replace in-place operators by functional ones; False, and nothing done, if that is unsafe."""
    functional: dict[fx.Node, torch._ops.OpOverload] = {}
    counters: list[fx.Node] = []
    for node in graph.nodes:
        op = node.target
        if node.op != "call_function" or op is operator.getitem:
            continue
        if not isinstance(op, torch._ops.OpOverload):
            return False
        if op._schema.is_mutable:
            if _counts(node):
                counters.append(node)
                continue
            counterpart = _counterpart(op)
            if counterpart is None or not _owns_its_tensor(node):
                return False
            functional[node] = op = counterpart
        if operator_name(op) not in RULES and _decomposes(op):
            return False
    for node in counters:
        graph.erase_node(node)
    for node, op in functional.items():
        node.target = op
    graph.eliminate_dead_code()
    return True


def _decomposes(op: torch._ops.OpOverload) -> bool:
    schema, key = op._schema, torch._C.DispatchKey.CompositeImplicitAutograd
    name = ".".join(filter(None, (schema.name, schema.overload_name)))
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def _counterpart(op: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The functional form of an in-place operator, if it has one."""
    namespace, _, name = str(op._schema.name).partition("::")
    written = [a.name for a in op._schema.arguments if a.alias_info and a.alias_info.is_write]
    if not name.endswith("_") or written != ["self"]:
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    found = getattr(packet, op._overloadname, None)
    return found if isinstance(found, torch._ops.OpOverload) else None


def _owns_its_tensor(node: fx.Node) -> bool:
    """Whether nothing but the in-place operator `node` sees the tensor that it writes to."""
    target = node.args[0]
    if not isinstance(target, fx.Node) or list(target.users) != [node]:
        return False
    op = target.target
    if not isinstance(op, torch._ops.OpOverload):
        return False
    if op._schema.is_mutable:
        return _counterpart(op) is not None and _owns_its_tensor(target)
    return operator_name(op) in _MAKE_NEW_TENSORS


def _counts(node: fx.Node) -> bool:
    """Whether a step only counts calls, in an integer buffer that nothing else reads."""
    target = node.args[0]
    return (
        node.target is torch.ops.aten.add_.Tensor
        and isinstance(target, fx.Node)
        and target.op == "placeholder"
        and not target.meta["val"].dtype.is_floating_point
        and list(target.users) == [node]
        and not node.users
    )


def _remedy(model: nn.Module, error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    kind = type(error).__name__
    text = f"{type(model).__name__} could not be traced by torch.export ({kind}: {first_line}). "
    if "DataDependent" in kind or "data-dependent" in str(error).lower():
        return text + (
            "Its control flow or a shape depends on the values of tensors. Move that decision out "
            "of forward(), or rescale the submodule that does not contain it."
        )
    return text + (
        "Check that model(*example_inputs) runs; if it does, rescale the submodules that "
        "torch.export can capture."
    )
