"""Memory that a solve needs beside its input."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MEASURE = """
    import json, sys
    import numpy as np, scipy.sparse as sp, pathcond_native as pc

    def peak():
        with open("/proc/self/status") as status:
            return next(1024 * int(l.split()[1]) for l in status if l.startswith("VmHWM"))

    # Layers of 200, 400, 400 and 20 channels, joined by kernels of 3 x 3.
    widths = [50, 200, 400, 400, 20, 10]
    begin = np.cumsum([0, *widths[1:-1]])
    p = 9 * sum(a * b for a, b in zip(widths, widths[1:]))
    leave, enter, first = [], [], 0
    columns = [[] for _ in range(2 * begin[-1])]
    for layer, (a, b) in enumerate(zip(widths, widths[1:])):
        rows = first + np.arange(9 * a * b, dtype=np.int32).reshape(b, a, 9)
        first += rows.size
        for h in range(b if layer + 2 < len(widths) else 0):
            columns[2 * (begin[layer] + h) + 1] = rows[h].ravel()
        for h in range(a if layer > 0 else 0):
            columns[2 * (begin[layer - 1] + h)] = rows[:, h].ravel()
    # Leaving rows come after the entering ones of the same neuron.
    lengths = np.array([len(c) for c in columns])
    ordered = [columns[2 * h + k] for h in range(begin[-1]) for k in (1, 0)]
    indices = np.concatenate(ordered)
    data = np.concatenate([
        np.full(len(c), k, np.int8) for c, k in zip(ordered, [-1, 1] * begin[-1])
    ])
    indptr = np.concatenate([[0], np.cumsum(lengths.reshape(-1, 2).sum(1))]).astype(np.int32)
    B = sp.csc_array((data, indices, indptr), (p, begin[-1]))
    g = np.exp(np.random.default_rng(0).standard_normal(p))
    pc.solve(sp.csc_array(np.array([[1], [-1]], np.int8)), [1.0, 2.0])  # everything is loaded
    del columns, ordered, rows

    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # peak := current
    before = peak()
    result = pc.solve(B, g, threads=int(sys.argv[1]))
    print(json.dumps({
        "rows": p,
        "merged_rows": result.merged_rows,
        "index_bytes": B.indices.itemsize,
        "converged": result.converged,
        "growth": peak() - before,
    }))
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_two_integers_per_row_and_a_constant_per_merged_row(threads):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(threads)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["converged"]
    assert report["index_bytes"] == 4
    assert report["rows"] > 1_500_000
    # The slack is for stacks and the allocator; one more array of p doubles would not fit.
    allowed = 2 * 4 * report["rows"] + 40 * report["merged_rows"] + 8e6
    assert report["growth"] <= allowed
