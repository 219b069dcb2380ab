"""Whether a device played by the host shows the mistakes that it is there to show."""

import mmap
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from test_emulated_arrays import some_graph, some_weights

import pathcond_native as pc

HERE = Path(__file__).parent


def test_planted_races_are_seen(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "planted_races"
    sources = HERE.parents[1] / "csrc"
    command = [compiler, "-std=c++20", "-O1", f"-I{sources}", str(HERE / "planted_races.cpp")]
    subprocess.run([*command, "-o", str(program)], check=True)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split("\n")
    results = {name: values for name, *values in map(str.split, filter(None, lines))}
    ascending, descending = results.pop("sound")
    assert ascending == descending and len(results) == 4
    for name, (ascending, descending) in results.items():
        assert ascending != descending, name


def test_places_beyond_32_bits(emulated):
    """g spread so far that its entries stand 2^31 places and more from the first."""
    graph = some_graph()
    g = some_weights(graph).float()
    apart = 2**23
    no_reserve = 0x4000  # MAP_NORESERVE, which Python does not name
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    try:
        memory = mmap.mmap(-1, 4 * apart * len(g), flags=flags)
    except OSError:
        pytest.skip("this machine gives no address space without memory behind it")
    spread = np.frombuffer(memory, np.float32)[::apart]
    spread[:] = g
    assert len(g) * apart > 2**32
    result = pc.solve(graph, torch.from_numpy(spread))
    assert torch.equal(result.u, pc.solve(graph, g).u) and emulated.refused == 0
    assert emulated.largest < 2**20
