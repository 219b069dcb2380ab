"""Ctrl-C at any moment, once or often: a model is rescaled entirely or not at all."""

import contextlib
import signal
import sys
import threading
import time

import pytest
import torch
from torch import nn
from training_zoo import batch, everything
from zoo import trained

from pathcond_native.model import interruptions, precision, rescale_, state, trace
from pathcond_native.model.interruptions import Interruptions

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
X = batch(0, 4, 2, 5, 5)


class Pressed(BaseException):
    pass


@pytest.fixture(autouse=True)
def pressed_raises():
    def raises(*_):
        raise Pressed

    before = signal.signal(signal.SIGINT, raises)
    yield
    signal.signal(signal.SIGINT, before)


def network():
    """With buffers, gradients, a one-shot hook and Adam's state."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    model = trained(model).double()
    optimizer = torch.optim.Adam(model.parameters())
    model(X).sum().backward()
    optimizer.step()
    return model, optimizer


def lines_of(module, run):
    """Every line of a module that `run` reaches, by its number and how often it was reached."""
    seen = {}

    def tracer(frame, event, _):
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            seen[frame.f_lineno] = seen.get(frame.f_lineno, 0) + 1
        return tracer

    sys.settrace(tracer)
    try:
        run()
    finally:
        sys.settrace(None)
    return seen


def pressed_at(module, line, time_of, run):
    """Run with Ctrl-C pressed when a line is reached for the n-th time."""
    seen = 0

    def tracer(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and frame.f_lineno == line:
            seen += 1
            if seen == time_of:
                signal.raise_signal(signal.SIGINT)
        return tracer

    sys.settrace(tracer)
    try:
        run()
    finally:
        sys.settrace(None)


def values(found):
    """Without the identities of objects."""
    if isinstance(found, (list, tuple)):
        return [values(x) for x in found if not isinstance(x, int)]
    return {k: values(x) for k, x in found.items()} if isinstance(found, dict) else found


@pytest.fixture(scope="module")
def ends():
    """What a network looks like if nothing was done, and if all was."""
    model, optimizer = network()
    graph = trace(model, X)
    before = values(everything(model, optimizer))
    rescale_(model, X, graph=graph, optimizer=optimizer)
    return graph, before, values(everything(model, optimizer))


def precision_of_products():
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("module", [state, interruptions, precision], ids=lambda m: m.__name__)
def test_every_line_that_keeps_or_puts_back(module, ends):
    graph, before, finished = ends
    model, optimizer = network()
    products = precision_of_products()

    def run():
        return rescale_(model, X, graph=graph, optimizer=optimizer)

    for line, times in lines_of(module, run).items():
        for time_of in {1, times}:
            model, optimizer = network()
            with pytest.raises(Pressed):
                pressed_at(module, line, time_of, run)
            assert values(everything(model, optimizer)) in (before, finished), (line, time_of)
            assert all(m.training for m in model.modules())
            assert signal.getsignal(signal.SIGINT).__name__ == "raises"
            assert precision_of_products() == products


# What is raised in callbacks of weak references (torch's) and of gc (JAX's) gets lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_hail_of_signals(ends):
    """From another thread, at times that nobody chose, several in a row."""
    graph, before, finished = ends
    over, counts, products = threading.Event(), [0, 0], precision_of_products()

    def hail():
        pause = 0.0
        while not over.is_set():
            time.sleep(pause := (pause + 0.0017) % 0.02)
            for _ in range(5):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def raises(_, frame):
        while frame is not None and frame.f_code is not rescale_.__code__:
            frame = frame.f_back
        if frame is not None:  # this test itself is not to be interrupted
            raise Pressed

    signal.signal(signal.SIGINT, raises)
    other = threading.Thread(target=hail)
    other.start()
    try:
        for _ in range(60):
            model, optimizer = network()
            with contextlib.suppress(Pressed):
                rescale_(model, X, graph=graph, optimizer=optimizer)
            after = values(everything(model, optimizer))
            assert after in (before, finished)
            assert all(m.training for m in model.modules())
            assert precision_of_products() == products
            counts[after == finished] += 1
    finally:
        over.set()
        other.join()
    assert counts[0] > 0


def test_signals_wait_and_are_raised_at_the_end():
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    with Interruptions() as outer:
        signal.raise_signal(signal.SIGINT)
        assert seen == []
        with outer.allowed():
            assert seen == [1], "it had waited"
            with Interruptions():
                signal.raise_signal(signal.SIGINT)
                assert seen == [1]
            assert seen == [1, 1]
            signal.raise_signal(signal.SIGINT)
            assert seen == [1, 1, 1]
        signal.raise_signal(signal.SIGINT)
        assert seen == [1, 1, 1]
    assert seen == [1, 1, 1, 1]


def test_other_threads_leave_handlers_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Interruptions() as block, block.allowed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
