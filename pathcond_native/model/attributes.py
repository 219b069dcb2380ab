"""Python attributes of a model, kept while it is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["attributes_kept"]


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Undo what the block does to attributes, and to lists, dicts and sets among them.

    A model that caches tensors would otherwise keep the tracer's, which hold no numbers.
    """
    held: list[Any] = [vars(module) for module in model.modules()]
    held += [x for attributes in held for x in attributes.values() if type(x) in (dict, list, set)]
    copies = [x.copy() for x in held]
    try:
        yield
    finally:
        for x, before in zip(held, copies, strict=True):
            if not _same(x, before):
                x.clear()
                x.extend(before) if isinstance(x, list) else x.update(before)


def _same(now: Any, before: Any) -> bool:
    """Whether the same objects stand in the same places."""
    parts = [(x.keys(), x.values()) if isinstance(x, dict) else (x,) for x in (now, before)]
    return [[id(y) for y in x] for x in parts[0]] == [[id(y) for y in x] for x in parts[1]]
