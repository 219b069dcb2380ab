"""A report as HTML: a fragment for notebooks, a page that needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .picture import draw
from .report import PINNED, UNSUPPORTED, pinned_rows, unsupported_rows

if TYPE_CHECKING:
    from .report import RescaleReport

__all__ = ["fragment", "page"]

# Nothing may be fetched, whatever stands in the page.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }}
h1, td {{ overflow-wrap: anywhere; }}
pre {{ white-space: pre-wrap; font-size: larger; }}
table {{ border-collapse: collapse; margin: 2em 0; }}
th, td {{ text-align: left; padding: 0.15em 1.2em 0.15em 0; vertical-align: top; }}
th {{ border-bottom: 1px solid; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{fragment}
<p>What enters a neuron is multiplied by its factor λ, what leaves it is divided: the function
stays. Channels that are not rescaled keep λ = 1. diag(G) is the diagonal of the path kernel; the
criterion pathcond brings its entries together, and a common factor of them does not count.</p>
</body>
</html>
"""


def page(report: RescaleReport, title: str) -> str:
    """A whole page; pictures are inside it."""
    return _PAGE.format(title=escape(title), fragment=fragment(report))


def fragment(report: RescaleReport) -> str:
    """The report's tables, and its pictures where matplotlib is installed."""
    summary = escape("\n".join(report.summary()))
    layers = [(g.name, str(g.size), g.range) for g in report.groups]
    pinned = pinned_rows((*report.pinned, *report.idle))
    parts = [
        f"<pre>{summary}</pre>",
        _svg(report) if report.result is not None and find_spec("matplotlib") else "",
        _table(("layer", "neurons", "factors λ"), layers),
        _table(PINNED, pinned),
        _table(UNSUPPORTED, unsupported_rows(report.unsupported)),
    ]
    return "\n".join(filter(None, parts))


def _svg(report: RescaleReport) -> str:
    stream = io.StringIO()
    draw(report).savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :].strip()


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows]
    if not body:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return "\n".join(["<table>", f"<tr>{head}</tr>", *body, "</table>"])
