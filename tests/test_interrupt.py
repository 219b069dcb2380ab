"""Callbacks, Ctrl-C, other Python threads and worker threads."""

import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from problems import (
    deep,
    inverted_residuals,
    layered,
    layered_kernels,
    long_rows,
    mild,
    network,
    twos,
)
from tolerances import SAME_OBJECTIVE

import pathcond_native as pc

METHODS = ("auto", "cd", "newton")


def drawn(incidence, seed=0):
    r = np.random.default_rng(seed)
    problem = incidence(r)
    return problem.B, mild(r, problem.layer)


def wide(r):
    """Large enough for several workers."""
    return network([200, 400, 400, 10], taps=4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [layered, twos])
def test_callback_sees_every_sweep(incidence, method):
    seen = []
    result = pc.solve(*drawn(incidence), method=method, callback=lambda *args: seen.append(args))
    sweeps, objectives, gradients = zip(*seen, strict=True)
    assert sweeps == tuple(range(1, result.sweeps + 1))
    np.testing.assert_array_equal(objectives, result.history[1:])
    assert [type(part) for part in seen[0]] == [int, float, float]
    assert min(gradients) >= 0
    assert gradients[-1] < gradients[0]


@pytest.mark.parametrize("method", METHODS)
def test_callback_is_only_an_observer(method):
    B, g = drawn(layered)
    watched = pc.solve(B, g, method=method, callback=lambda *_: None)
    plain = pc.solve(B, g, method=method)
    np.testing.assert_array_equal(watched.u, plain.u)
    np.testing.assert_array_equal(watched.history, plain.history)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("answer", [True, 1, "stop", np.True_])
def test_callback_stops(last, answer, method):
    B, g = drawn(layered)
    result = pc.solve(
        B, g, method=method, tol=0, callback=lambda sweep, *_: answer if sweep == last else None
    )
    assert (result.sweeps, result.status) == (last, "stopped_by_callback")
    assert not result.converged
    same = pc.solve(B, g, method=method, tol=0, max_sweeps=last)
    np.testing.assert_array_equal(result.u, same.u)
    assert result.objective == pytest.approx(same.objective, rel=SAME_OBJECTIVE)


@pytest.mark.parametrize("answer", [False, 0, None, "", np.False_])
def test_false_values_go_on(answer):
    result = pc.solve(*drawn(layered), callback=lambda *_: answer)
    assert result.converged


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_exceptions_of_the_callback_come_through(error, method):
    class Mine(error):
        pass

    mine = Mine("from the callback")

    def fail(sweep, *_):
        if sweep == 2:
            raise mine

    with pytest.raises(Mine) as caught:
        pc.solve(*drawn(layered), method=method, tol=0, callback=fail)
    assert caught.value is mine


def test_callback_whose_answer_has_no_truth_value():
    with pytest.raises(ValueError, match="ambiguous"):
        pc.solve(*drawn(layered), callback=lambda *_: np.array([True, False]))


def test_callback_with_other_arguments():
    with pytest.raises(TypeError, match="positional argument"):
        pc.solve(*drawn(layered), callback=lambda: None)


def test_callback_may_solve():
    B, g = drawn(layered)
    inner = []
    pc.solve(B, g, callback=lambda *_: inner.append(pc.solve(B, g).u))
    for u in inner:
        np.testing.assert_array_equal(u, inner[0])
    assert len(inner) > 1


@pytest.mark.parametrize("values", ["pairs", "general"])
def test_interrupt_signal_ends_a_long_solve(values):
    code = """
        import signal, sys
        import numpy as np, pathcond_native as pc
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore it
        r = np.random.default_rng(0)
        leave, enter = r.integers(0, 300, (2, 60000))
        import scipy.sparse as sp
        rows = np.arange(60000)
        other = -1.0 if sys.argv[1] == "pairs" else -1.5
        B = sp.coo_array((np.repeat([1.0, other], 60000),
                          (np.tile(rows, 2), np.concatenate([leave, (enter + 1) % 300]))),
                         (60000, 300)).tocsc()
        print("ready", flush=True)
        try:
            pc.solve(B, r.random(60000) + 0.1, method="cd", tol=0, max_sweeps=10**6)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        else:
            print("finished", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), values], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def test_other_python_threads_run_during_a_solve():
    B, g = drawn(layered_kernels)
    options = {"method": "cd", "tol": 0, "max_sweeps": 20_000}
    solver = threading.Thread(target=pc.solve, args=(B, g), kwargs=options)
    solver.start()
    ticks = 0
    while solver.is_alive():
        ticks += 1
        time.sleep(0)
    # With the lock held for the whole solve, the loop would be entered a few times at most.
    assert ticks > 100


@pytest.mark.parametrize("method", METHODS)
def test_solves_in_parallel_threads(method):
    B, g = drawn(layered)
    expected = pc.solve(B, g, method=method).u
    results = [None] * 8

    def work(place):
        results[place] = pc.solve(B, g, method=method).u

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for u in results:
        np.testing.assert_array_equal(u, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("incidence", [wide, deep, inverted_residuals, long_rows])
def test_number_of_threads_does_not_change_a_bit(incidence, method):
    B, g = drawn(incidence)
    options = {"method": method, "max_sweeps": 5}
    expected = pc.solve(B, g, threads=1, **options)
    for threads in (2, 3, 7, None):
        result = pc.solve(B, g, threads=threads, **options)
        np.testing.assert_array_equal(result.u, expected.u)
        np.testing.assert_array_equal(result.history, expected.history)
