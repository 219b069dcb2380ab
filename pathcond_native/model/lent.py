"""Large tensors that hold memory only while an operation reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Lent"]


@dataclass
class _Held:
    whole: Tensor
    fill: Callable[[Tensor], None]
    size: int
    users: int = 0


class Lent:
    """Storages that are emptied after use and filled again before the next one.

    Views of a tensor share its storage, also those that autograd keeps: they are valid whenever an
    operation that was announced by `present` runs.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def lend(self, x: Tensor, fill: Callable[[Tensor], None]) -> None:
        """Empty a tensor after its next use; fill(x) is to give it the same entries again."""
        storage = x.untyped_storage()
        self._held[storage._cdata] = _Held(x.data, fill, storage.nbytes())

    @contextmanager
    def present(self, tensors: Iterable[Tensor]) -> Iterator[None]:
        """Within the block, these tensors have their entries."""
        keys = {x.untyped_storage()._cdata for x in tensors} if self._held else set()
        used = [self._held[key] for key in keys if key in self._held]
        for held in used:
            held.users += 1
            storage = held.whole.untyped_storage()
            if storage.nbytes() < held.size:
                storage.resize_(held.size)
                with torch.no_grad():
                    held.fill(held.whole)  # through `.data`: autograd need not know
        try:
            yield
        finally:
            for held in used:
                held.users -= 1
                if held.users == 0:
                    held.whole.untyped_storage().resize_(0)
