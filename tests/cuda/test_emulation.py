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


SOURCES = HERE.parents[1] / "csrc"


def compile_with(*arguments):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    command = [compiler, "-std=c++20", "-O1", f"-I{SOURCES}", f"-I{SOURCES / 'include'}"]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)


def printed(name, tmp_path):
    """The lines that a program of this folder prints."""
    compile_with(HERE / f"{name}.cpp", "-o", tmp_path / name)
    done = subprocess.run([tmp_path / name], check=True, capture_output=True, text=True)
    return done.stdout.split("\n")


def test_long_prefix_sums(tmp_path):
    assert printed("long_prefix", tmp_path) == ["0"] * 16 + [""]


def test_memory_given_back(tmp_path):
    """It serves again, neighbours as one piece; to read it, or to be early, does not go unseen."""
    assert [line.replace("-nan", "nan") for line in printed("given_back", tmp_path)] == [
        "allocations 1",
        "stale nan nan, held 7",
        "joined 1",
        "allocations 1",
        "allocations 2",
        "memory is given back that a device may still use",
        "again 1",
        "",
    ]


def test_planted_races_are_seen(tmp_path):
    lines = printed("planted_races", tmp_path)
    results = {name: values for name, *values in map(str.split, filter(None, lines))}
    for name in ("sound", "sound_copies"):
        early, late = results.pop(name)
        assert early == late, name
    assert len(results) == 6
    for name, (early, late) in results.items():
        assert early != late, name


def test_threads_meet_at_barriers(tmp_path):
    """ThreadSanitizer sees what threads of a block do that no barrier orders."""
    objects, program = tmp_path / "turns.o", tmp_path / "races"
    include = [f"-I{HERE}", f"-I{HERE / 'runtime'}"]
    compile_with(*include, "-c", HERE / "runtime" / "turns.cpp", "-o", objects)
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() {}")
    try:
        compile_with("-fsanitize=thread", empty, "-o", program)
    except subprocess.CalledProcessError:
        pytest.skip("no ThreadSanitizer")
    core = [SOURCES / "core" / name for name in ("coarse.cpp", "sparse_factor.cpp")]
    own = [HERE / "races_of_threads.cpp", HERE / "runtime" / "runtime.cpp"]
    compile_with("-fsanitize=thread", *include, *own, *core, objects, "-o", program)

    def seen(*names):
        done = subprocess.run([program, *names], capture_output=True, text=True)
        return done.returncode, "data race" in done.stderr, done.stdout

    assert seen("no_barrier")[:2] == (66, True), "a planted race"
    assert seen("parting") == (0, False, "parted\n"), "a planted barrier that some do not meet"
    sound = ("barrier", "coarse", "sweep", "sort", "scale")
    assert seen(*sound) == (0, False, "together\n" * len(sound))


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
