"""The table of supported operators, as Markdown: ``python -m pathcond_native.model.operators``."""

from __future__ import annotations

import re

from .rules import FAMILIES

__all__ = ["table"]

_HEADER = "| operators | channel scales | lifted form |\n| --- | --- | --- |"


def table() -> str:
    """One line per family of operators, then what has no rule."""
    lines = [
        f"| **{family.name}**{_names(list(family.rules))} | {family.scales} | {family.lifted} |"
        for family in FAMILIES
    ]
    rest = "| **anything else**, such as tanh, GELU, softmax, ReLU6, LSTM | input pinned | ones |"
    return "\n".join([_HEADER, *lines, rest])


def _names(operators: list[str]) -> str:
    """Public operators without their namespace; those that differ in rank are listed once."""
    plain = [name.removeprefix("aten.") for name in operators if not name.startswith("aten._")]
    unique = dict.fromkeys(f"`{re.sub(r'[123]d', 'Nd', name)}`" for name in plain)
    return f": {', '.join(unique)}" if unique else ""


if __name__ == "__main__":
    print(table())
