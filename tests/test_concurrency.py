"""Many solves at once: in threads, in forked processes, in workers; sub-interpreters; signals."""

import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from problems import deep, inverted_residuals, layered, mild, network, reference, twos

import pathcond_native as pc
from pathcond_native import _core

METHODS = ("auto", "cd", "newton")


def wide(r):
    """Large enough for several workers."""
    return network([200, 400, 400, 10], taps=4)


def printed(code, **environment):
    """By a process of its own, in which warnings are errors."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


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


def go_on(sweep):
    return False


def stop_at_two(sweep):
    return sweep == 2


def fail_at_two(sweep):
    if sweep == 2:
        raise LookupError("at two")


def outcome(B, g, answer, **options):
    """All that one call of `solve` shows: result or error, and what its callback saw."""
    seen = []

    def callback(*step):
        seen.append(step)
        return answer(step[0])

    try:
        result = pc.solve(B, g, threads=2, max_sweeps=20, callback=callback, **options)
    except (pc.InvalidInputError, LookupError) as error:
        return type(error), str(error), seen
    arrays = (result.u, result.v, result.history, result.frozen)
    return result.status, result.objective, [x.tobytes() for x in arrays], seen


def on_played_device(B, g):
    """u by the kernels of the CUDA backend, whose memory comes from Python."""
    kept = []

    def allocate(size, device):
        kept.append(np.empty(size, np.uint8))
        return kept[-1].ctypes.data

    arrays = (B.indptr, B.indices, B.data, g)
    source = (
        *B.shape,
        B.nnz,
        tuple(x.dtype.name for x in arrays[1:]),
        tuple(x.ctypes.data for x in arrays),
    )
    options = {"method": "auto", "linear": True, "tolerance": None, "max_sweeps": None, "u0": []}
    options |= {"max_scale": np.inf, "threads": 1, "callback": None}
    solution, *_ = _core.solve_emulated(source, allocate, late=False, **options)
    return solution.u.tobytes()


def test_eight_threads_at_different_and_the_same_problems():
    problems = [
        drawn(incidence, seed)
        for seed, incidence in enumerate((layered, deep, inverted_residuals, twos, wide))
    ]
    calls = [
        partial(outcome, B, g, go_on, method=method) for B, g in problems for method in METHODS
    ]
    B, g = problems[0]
    bad = g.copy()
    bad[3] = np.nan
    backwards = sp.csc_array(B)
    backwards.indices[:2] = backwards.indices[1::-1].copy()  # `solve` sorts a copy
    for method in METHODS:
        calls += [
            partial(outcome, B, g, stop_at_two, method=method, tol=0),
            partial(outcome, B, g, fail_at_two, method=method, tol=0),
            partial(outcome, B, bad, go_on, method=method),
            partial(outcome, backwards, g, go_on, method=method),
        ]
    B, data = reference("mlp_20_32_16_24_5")
    calls += [
        partial(outcome, B, data["g"], go_on, criterion="enorm"),
        partial(on_played_device, B, data["g"]),
    ]
    alone = [call() for call in calls]
    with ThreadPoolExecutor(8) as pool:
        twice = [k for k in range(len(calls)) for _ in range(2)]
        for order in (twice, twice[::-1]):
            for k, found in zip(order, pool.map(lambda k: calls[k](), order), strict=True):
                assert found == alone[k]


def test_eight_threads_share_a_result():
    B, g = drawn(layered)
    results = [pc.solve(B, g) for _ in range(20) for _ in range(8)]
    shared = [results[k - k % 8] for k in range(len(results))]
    with ThreadPoolExecutor(8) as pool:
        for v, alone in zip(pool.map(lambda result: result.v, shared), results, strict=True):
            np.testing.assert_array_equal(v, alone.v)


def test_first_use_by_eight_threads_at_once():
    code = """
        import threading
        start, found = threading.Barrier(8), []
        def first_use():
            start.wait()
            import numpy as np
            import pathcond_native as pc
            B = np.array([[1, 0], [-1, 1], [0, -1], [0, 0]])
            found.append(pc.solve(B, [1.0, 2.0, 3.0, 4.0], callback=lambda *_: None).u.tobytes())
        threads = [threading.Thread(target=first_use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(found), len(set(found)))
    """
    assert printed(code) == "8 1\n"


@pytest.mark.parametrize(
    "name", ["torch", "jax", "jax.errors", "jax.experimental.sparse", "scipy.sparse", "cupy"]
)
def test_a_package_that_another_thread_is_importing(monkeypatch, name):
    """Until then it has no classes, and nothing can be of them."""
    expected = pc.solve([[1.0], [-1.0]], [1.0, 2.0]).u
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    np.testing.assert_array_equal(pc.solve(np.array([[1.0], [-1.0]]), [1.0, 2.0]).u, expected)
    with pytest.raises(pc.InvalidInputError, match=r"^g: "):
        pc.solve([[1.0], [-1.0]], [[1.0], [2.0, 3.0]])


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is not free-threaded"
)
def test_free_threaded_python_stays_so():
    code = """
        import sys
        import pathcond_native as pc
        pc.solve([[1], [-1]], [1.0, 2.0], callback=lambda *_: None)
        print(sys._is_gil_enabled())
    """
    assert printed(code, PYTHON_GIL="") == "False\n"


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


def test_a_child_forked_in_a_callback_goes_on():
    """Of the threads of the solve it has one."""
    code = """
        import os, sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        import test_concurrency as t
        B, g = t.drawn(t.wide)
        expected = t.pc.solve(B, g, threads=1, method="newton")
        parent, children = os.getpid(), []
        def fork_once(sweep, *_):
            if not children:
                children.append(os.fork())
        found = t.pc.solve(B, g, threads=4, method="newton", callback=fork_once)
        same = found.passes > 3 and np.array_equal(found.u, expected.u)
        if os.getpid() != parent:
            os._exit(0 if same else 1)
        print(same, os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(__file__).rpartition("/")[0]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "True 0\n", done.stderr


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


class Solved:
    """Item k: the solution of problem k, solved where it is asked for."""

    def __len__(self):
        return 8

    def __getitem__(self, k):
        return pc.solve(*drawn(layered, k), threads=2).u


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader():
    torch = pytest.importorskip("torch")
    here = [Solved()[k] for k in range(8)]
    loader = torch.utils.data.DataLoader(
        Solved(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=120
    )
    there = []
    for batch in loader:  # the parent solves meanwhile
        there.extend(batch.numpy().copy())
        pc.solve(*drawn(layered), threads=2)
    np.testing.assert_array_equal(there, here)


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
    out = printed(code)
    assert "cannot be used in a sub-interpreter" in out
    assert out.endswith("\nTrue\n")


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
