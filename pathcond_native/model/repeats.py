"""Equal entries in a row along an axis, stored once.

The inputs of the lifted network are ones, so its values differ along spatial axes near the borders
only: one stored entry stands for the whole interior. Stored entries are what the derivative is
taken in, hence that of a repeated one is the sum over all it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .scaled import Scaled

__all__ = ["Repeat", "aligned", "in_full", "through_matrix", "through_windows", "written"]


@dataclass(frozen=True)
class Repeat:
    """The stored entry `at` of an axis stands for `count` > 1 entries."""

    at: int
    count: int

    @property
    def end(self) -> int:
        """Index, in the full axis, behind the last of them."""
        return self.at + self.count


def written(x: Tensor, axis: int, at: int, copies: int) -> Tensor:
    """Write entry `at` of an axis `copies` times."""
    if copies == 1:
        return x
    sizes = list(x.shape)
    sizes[axis] = copies
    entry = x.narrow(axis, at, 1).expand(sizes)
    after = x.narrow(axis, at + 1, x.shape[axis] - at - 1)
    return torch.cat([x.narrow(axis, 0, at), entry, after], axis)


def in_full(x: Tensor, repeats: Mapping[int, Repeat]) -> Tensor:
    """Every entry as often as it stands for."""
    for axis, repeat in repeats.items():
        x = written(x, axis, repeat.at, repeat.count)
    return x


def through_windows(
    repeat: Repeat, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[int, Repeat | None]:
    """What a convolution makes of a repeated entry.

    Window o of an axis covers kernel entries from o · stride - padding on, dilation apart; those
    that see nothing but repeated entries agree.

    Returns:
        How many copies the convolution needs to see, so that it gives each of its own repeated
        entries once; and these.
    """
    span = dilation * (kernel - 1)
    first = max(0, -(-(repeat.at + padding) // stride))
    last = min(out - 1, (repeat.end - 1 + padding - span) // stride)
    equal = last - first + 1
    if equal <= 1:
        return repeat.count, None
    return repeat.count - stride * (equal - 1), Repeat(first, equal)


def through_matrix(matrix: Tensor, repeat: Repeat) -> tuple[Tensor, Repeat | None]:
    """The matrix (out, in) as it acts on a stored axis, and the results that it repeats."""
    inside = matrix[:, repeat.at : repeat.end].sum(1)
    before, after = matrix[:, : repeat.at], matrix[:, repeat.end :]
    interior = ~((before != 0).any(1) | (after != 0).any(1))
    results = [
        x if one else None for x, one in zip(inside.tolist(), interior.tolist(), strict=True)
    ]
    start, longest = 0, Repeat(0, 1)
    for result, run in groupby(results):
        length = len(list(run))
        if result is not None and length > longest.count:
            longest = Repeat(start, length)
        start += length
    stored = torch.cat([before, inside[:, None], after], 1)
    if longest.count == 1:
        return stored, None
    return torch.cat([stored[: longest.at + 1], stored[longest.end :]]), longest


def aligned(
    xs: Sequence[Scaled], plain: int | None = None
) -> tuple[list[Scaled], dict[int, Repeat]]:
    """Store several tensors of the same rank so that they can be combined entry by entry.

    Args:
        xs: with their repeats; an axis stored with size 1 is constant.
        plain: an axis along which nothing may be repeated.

    Returns:
        The tensors, and the repeats that all of them have now.
    """
    common: dict[int, Repeat] = {}
    for axis in {axis for x in xs for axis in x.repeats}:
        held = [x.repeats.get(axis) for x in xs if x.repeats.get(axis) or x.value.shape[axis] > 1]
        present = [repeat for repeat in held if repeat is not None]
        start, end = max(r.at for r in present), min(r.end for r in present)
        if axis != plain and len(present) == len(held) and end - start > 1:
            common[axis] = Repeat(start, end - start)

    def stored_alike(x: Scaled) -> Scaled:
        for axis, repeat in x.repeats.items():
            copies = repeat.count - (common[axis].count - 1 if axis in common else 0)
            x = x.map(partial(written, axis=axis, at=repeat.at, copies=copies))
        return x

    return [stored_alike(x) for x in xs], common
