"""The measured facts as a Markdown table that also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]


def table(networks: dict[str, Facts]) -> str:
    """One column per network; a line appears only if it was measured for every network."""
    lines: list[tuple[str, Callable[[Facts], str]]] = [
        ("parameters p", lambda f: f"{f['solve']['p']:,}"),
        ("neurons H", lambda f: f"{f['solve']['H']:,}"),
        ("rows after merging", lambda f: f"{f['solve']['merged_rows']:,}"),
        ("sweeps to the optimum", lambda f: str(f["solve"]["sweeps"])),
        ("max abs(dF/du)/p there", lambda f: f"{f['solve']['gradient']:.1e}"),
        ("**solve, to the optimum**", lambda f: f"**{_ms(f['solve']['seconds'])}**"),
        ("**by tensors, to the optimum**", lambda f: f"**{_ms(f['tensors']['seconds'])}**"),
        ("solve: validate + merge + sweeps", lambda f: _stages(f["solve"]["stages"])),
        ("by tensors: merge + sweeps", lambda f: _stages(f["tensors"]["stages"])),
        ("solve, the paper's ten sweeps", lambda f: _against(f["native_sweeps"])),
        ("PyTorch, the paper's ten sweeps", lambda f: _against(f["python_sweeps"])),
        ("Numba, the paper's ten sweeps", lambda f: _against(f["numba_sweeps"])),
        ("gap/p left by ten sweeps", lambda f: f"{f['python_sweeps']['gap']:.1e}"),
        ("SciPy L-BFGS-B, to gap/p 1e-9", lambda f: _against(f["lbfgsb"])),
        ("bytes of B and g; of g", lambda f: _bytes(f["reading"]) + "; " + _bytes(f["reading_g"])),
        ("reading B and g once", lambda f: _against(f["reading"])),
        ("reading g once, against tensors", lambda f: _against(f["reading_g"])),
    ]
    rows = [["", *networks]]
    for label, cell in lines:
        try:
            rows.append([label, *(cell(facts) for facts in networks.values())])
        except KeyError:
            continue
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g} ms" if seconds < 0.1 else f"{1e3 * seconds:,.0f} ms"


def _stages(stages: Facts) -> str:
    return " + ".join(f"{1e3 * seconds:.2f}" for seconds in stages.values()) + " ms"


def _bytes(measured: Facts) -> str:
    return f"{measured['bytes'] / 1e6:.1f} MB"


def _against(measured: Facts) -> str:
    """Time of the other, and its ratio to the time of the `solve` measured beside it."""
    ratio = measured["ratio"]
    times = (
        f"{ratio:.1f}x"
        if 1 <= ratio < 10
        else f"{ratio:.0f}x"
        if ratio >= 10
        else f"1/{1 / ratio:.2g}"
    )
    return f"{_ms(measured['seconds'])} ({times})"
