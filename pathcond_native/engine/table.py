"""Plain text tables that fit a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

__all__ = ["NAME", "WIDTH", "shorten", "table"]

WIDTH = 96
NAME = 36


def shorten(text: str, width: int = NAME) -> str:
    """The text, or its beginning and its end where it is longer than `width`."""
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[head + 1 - width :]}"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], most: int, rest: str = ""
) -> list[str]:
    """Aligned lines of at most `WIDTH` characters under a header, the last column wrapped.

    Args:
        header, rows: as many cells in each.
        most: rows to show; where there are more, the middle ones are left out.
        rest: what stands in the place of those, with ``{}`` for their number.
    """
    if not rows:
        return []
    hidden = len(rows) - most
    half = (most + 1) // 2
    shown = [*rows[:half], *rows[len(rows) - (most - half) :]] if hidden > 0 else list(rows)
    widths = [max(len(row[i]) for row in (header, *shown)) for i in range(len(header) - 1)]
    indent = 2 + sum(width + 2 for width in widths)
    lines = []
    for number, row in enumerate([header, *shown]):
        if hidden > 0 and number == half + 1:
            lines.append(f"  … {rest.format(hidden)}")
        *cells, last = row
        start = "  " + "".join(f"{c:<{w}}  " for c, w in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(last, max(20, WIDTH - indent)) or [""]
        lines += [(start + wrapped[0]).rstrip()]
        lines += [" " * indent + line for line in wrapped[1:]]
    return lines
