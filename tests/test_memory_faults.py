"""Memory that runs out anywhere in a solve, also in its threads, is an exception and no crash."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from exhaustion import ENVIRONMENT

SOLVE = """
    import json, sys
    import numpy as np, scipy.sparse as sp, pathcond_native as pc
    from exhaustion import BUDGETS, left, sweep

    kind, method = sys.argv[1:]
    r = np.random.default_rng(0)
    widths = [300, 600, 600, 10]
    begin = np.cumsum([0, *widths[1:-1]])
    rows, columns, signs, first = [], [], [], 0
    for layer, (a, b) in enumerate(zip(widths, widths[1:])):
        row = first + np.arange(a * b)
        first += a * b
        if layer > 0:
            rows.append(row), columns.append(begin[layer - 1] + row % a), signs.append(0 * row + 1)
        if layer + 2 < len(widths):
            rows.append(row), columns.append(begin[layer] + (row - row[0]) // a)
            signs.append(0 * row - 1)
    entries = [np.concatenate(x) for x in (signs, rows, columns)]
    B = sp.coo_array((entries[0].astype(np.int8), tuple(entries[1:])), (first, begin[-1])).tocsc()
    if kind == "shuffled":
        B = B[r.permutation(first)]
        B.sort_indices()
    if kind == "real":
        B = B * 1.5
    g = np.exp(r.standard_normal(first))
    options = {"method": method, "max_sweeps": 2, "threads": 4}
    expected, before = pc.solve(B, g, **options), (B.copy(), g.copy())

    def action(budget):
        with left(budget):
            result = pc.solve(B, g, **options)
        assert np.array_equal(result.u, expected.u)

    def in_threads(budget):
        global held
        with left(budget, held) as held:
            result = pc.solve(B, g, **options)
        assert np.array_equal(result.u, expected.u)

    held = []  # first: threads keep what they once got
    ended = sweep(in_threads, range(0, 24_000_000, 1_000_000))
    ended |= sweep(action, BUDGETS)
    assert np.array_equal(g, before[1]) and (B != before[0]).nnz == 0
    print(json.dumps(ended))
"""


@pytest.mark.parametrize(
    ("kind", "method"),
    [("tensors", "auto"), ("tensors", "newton"), ("shuffled", "cd"), ("real", "cd")],
)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_that_runs_out_in_a_solve(kind, method):
    """std::bad_alloc in a worker thread once ended the process: the loader had no memory for it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SOLVE), kind, method],
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert ended.pop("done") > 0
    assert ended or kind == "tensors", "sums over tensors need next to nothing"
    for message in ended:
        assert message.startswith("OutOfMemoryError: solve: not enough memory, nothing was changed")
