"""Many solves at once: in threads, in forked processes, in workers; sub-interpreters; signals."""

import multiprocessing
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from problems import deep, inverted_residuals, layered, mild, network, twos

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")


def wide(r):
    """Large enough for several workers."""
    return network([200, 400, 400, 10], taps=4)


def drawn(incidence, seed=0):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    return problem.B, mild(r, problem.layer)


def long_problem():
    """100 ms per sweep, for as many sweeps as one likes."""
    r = np.random.default_rng(0)
    rows, (leave, enter) = np.arange(60_000), r.integers(0, 300, (2, 60_000))
    columns = np.concatenate([leave, (enter + 1) % 300])
    values = np.repeat([1.0, -1.5], 60_000)
    return sp.coo_array((values, (np.tile(rows, 2), columns)), (60_000, 300)).tocsc(), r.random(
        60_000
    ) + 0.1


def test_different_problems_in_eight_threads():
    problems = [
        (*drawn(incidence, seed), method)
        for seed, incidence in enumerate((layered, deep, inverted_residuals, twos, wide))
        for method in METHODS
    ]

    def solve(problem):
        B, g, method = problem
        return pc.solve(B, g, method=method, threads=2, max_sweeps=20).u

    alone = [solve(problem) for problem in problems]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for u, expected in zip(pool.map(solve, problems), alone, strict=True):
                np.testing.assert_array_equal(u, expected)


@pytest.mark.parametrize("threads", range(2, 9))
def test_bitwise_equal_for_one_to_eight_threads(threads):
    B, g = drawn(wide)
    for method in METHODS:
        one = pc.solve(B, g, method=method, threads=1)
        several = pc.solve(B, g, method=method, threads=threads)
        np.testing.assert_array_equal(several.u, one.u)
        np.testing.assert_array_equal(several.history, one.history)
        assert several.objective == one.objective


def _solve_and_send(B, g, connection):
    connection.send(pc.solve(B, g, threads=4).u)
    connection.close()


def _solved_in_fork(B, g):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_solve_and_send, args=(B, g, sender))
    child.start()
    try:
        assert receiver.poll(60), "the forked process hangs"
        u = receiver.recv()
        child.join(60)
        assert child.exitcode == 0
        return u
    finally:
        child.kill()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_fork_before_during_and_after_a_solve():
    B, g = drawn(wide)
    code = """
        import os, sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        import test_concurrency as t
        B, g = t.drawn(t.wide)
        print(hash(t._solved_in_fork(B, g).tobytes()) == hash(t.pc.solve(B, g).u.tobytes()))
    """  # the first solve of a process is that of its child
    fresh = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(__file__).rpartition("/")[0]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert fresh.stdout == "True\n", fresh.stderr
    expected = pc.solve(B, g, threads=4).u
    np.testing.assert_array_equal(_solved_in_fork(B, g), expected)

    inside = []

    def in_the_middle(sweep, *_):
        inside.append(_solved_in_fork(B, g))

    pc.solve(B, g, threads=4, callback=in_the_middle, max_sweeps=1, method="cd")
    np.testing.assert_array_equal(inside, [expected])

    stop = threading.Event()
    busy = threading.Thread(
        target=pc.solve,
        args=long_problem(),
        kwargs={
            "method": "cd",
            "tol": 0,
            "max_sweeps": 10**6,
            "callback": lambda *_: stop.is_set(),
        },
    )
    busy.start()
    try:
        time.sleep(0.1)
        np.testing.assert_array_equal(_solved_in_fork(B, g), expected)
    finally:
        stop.set()
        busy.join()
    np.testing.assert_array_equal(pc.solve(B, g, threads=4).u, expected)


class Solved(torch.utils.data.Dataset):
    """Item k: the solution of problem k, solved where it is asked for."""

    def __len__(self):
        return 8

    def __getitem__(self, k):
        return torch.from_numpy(pc.solve(*drawn(layered, k), threads=2).u)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader():
    here = torch.stack([Solved()[k] for k in range(8)])
    loader = torch.utils.data.DataLoader(
        Solved(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=120
    )
    there = []
    for batch in loader:  # the parent solves meanwhile
        there.append(batch.clone())
        pc.solve(*drawn(layered), threads=2)
    assert torch.equal(torch.cat(there), here)


def test_sub_interpreters_are_refused():
    code = """
        import warnings
        warnings.simplefilter("ignore")
        try:
            import _interpreters as interpreters
            options = ("legacy",)
        except ImportError:
            import _xxsubinterpreters as interpreters
            options = ()
        import pathcond_native as pc
        other = interpreters.create(*options)
        work = "import pathcond_native"
        try:
            failed = interpreters.run_string(other, work)
        except Exception as error:
            failed = error
        print(failed)
        interpreters.destroy(other)
        print(pc.solve([[1], [-1]], [1.0, 2.0]).converged)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert "cannot be used in a sub-interpreter" in result.stdout, result.stderr
    assert result.stdout.endswith("\nTrue\n"), result.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
@pytest.mark.parametrize("number", ["SIGALRM", "SIGTERM", "SIGUSR1"])
def test_handlers_of_any_signal_run_within_a_sweep(number):
    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    B, g = long_problem()
    number = getattr(signal, number)
    before = signal.signal(number, stop)
    threading.Timer(0.2, signal.raise_signal, [number]).start()
    try:
        with pytest.raises(StoppedError):
            pc.solve(B, g, method="cd", tol=0, max_sweeps=10**6)
    finally:
        signal.signal(number, before)
