"""When the driver is asked, and what is made of its answers: a small library in its place."""

import os
import subprocess
import sys

import pytest
import torch
from test_emulation import HERE, compile_with

from pathcond_native import _core

pytestmark = pytest.mark.skipif(
    not _core.build_info()["cuda"], reason="this build has no CUDA code, and asks no driver"
)

NO_DEVICE, NOT_INITIALIZED = 100, 3
"""CUDA_ERROR_NO_DEVICE and CUDA_ERROR_NOT_INITIALIZED of cuda.h."""


@pytest.fixture(scope="module")
def run_with_driver(tmp_path_factory):
    """Runs Python with a driver of this version that gives this answer; returns all it prints."""
    folder = tmp_path_factory.mktemp("driver")
    compile_with("-shared", "-fPIC", HERE / "driver.cpp", "-o", folder / "libcuda.so.1")

    def run(*arguments, version, answer):
        found = {"DRIVER_VERSION": str(version), "DRIVER_ANSWER": str(answer)}
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **found, "LD_LIBRARY_PATH": str(folder)},
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("version", "answer", "said"),
    [
        (12020, 0, "driver too old: it supports CUDA 12.2, this build needs "),
        (99000, NO_DEVICE, "no device\n"),
        (99000, NOT_INITIALIZED, "failed: initialization error\n"),
        (0, 0, "no driver\n"),
    ],
)
def test_what_info_says(version, answer, said, run_with_driver):
    printed = run_with_driver("-m", "pathcond_native", "info", version=version, answer=answer)
    assert f"built in, but {said}" in printed and "driver\n" in printed


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch asks the driver itself")
def test_the_host_alone_asks_no_driver(run_with_driver):
    """Neither to import, nor for inputs on the host; then it is asked, to see that this shows."""
    program = """
import sys
import torch
import pathcond_native as pc

model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
x = torch.ones(4, 3)
graph = pc.trace(model, x)
g = pc.diag_g(model, x, graph=graph)
pc.solve(graph, g)
pc.solve(graph.incidence(), g.numpy())
assert pc.rescale_(model, x).neurons == 5
print("all done", file=sys.stderr, flush=True)
pc._core.cuda_status()
"""
    said = run_with_driver("-c", program, version=99000, answer=NO_DEVICE)
    assert said.split("\n") == ["all done", "driver", ""]
