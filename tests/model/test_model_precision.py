"""Verification and diag(G) in float32 proper, on devices whose products are rounded to less."""

import threading

import pytest
import torch
from torch import nn
from zoo import mlp

import pathcond_native as pc
from pathcond_native.model.precision import full_precision, settings_kept

NEWER = hasattr(torch.backends.cudnn, "conv")


def settings():
    if not NEWER:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    backends = torch.backends
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul)
    return [x.fp32_precision for x in places]


def put_back(found):
    if not NEWER:
        torch.backends.cudnn.allow_tf32, products = found
        torch.set_float32_matmul_precision(products)
        return
    backends = torch.backends
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul)
    for x, precision in zip(places, found, strict=True):
        if x.fp32_precision != precision:
            x.fp32_precision = precision


def reduced(found):
    return bool({"tf32", "bf16", "high", "medium", True} & set(found))


@pytest.fixture(params=["by default", "older names", "newer names"])
def told(request):
    """Torch as it may have been told; afterwards as it was."""
    if request.param == "newer names" and not NEWER:
        pytest.skip("they came with torch 2.9")
    before = settings()
    products = torch.get_float32_matmul_precision()
    if request.param == "older names":
        torch.set_float32_matmul_precision("high")
    if request.param == "newer names":
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    yield request.param
    if request.param == "older names":
        torch.set_float32_matmul_precision(products)
    if request.param == "newer names":
        torch.backends.cuda.matmul.fp32_precision = before[2]


class Seen(nn.Sequential):
    """Notes the settings under which it is run."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.seen = []

    def forward(self, x):
        if not torch.compiler.is_exporting():
            self.seen.append(settings())
        return super().forward(x)


def test_outputs_are_compared_in_full_precision(told):
    before = settings()
    assert reduced(before), "or there is nothing to see"
    model, x = Seen(*mlp(4, 9, 7, 3)), torch.randn(2, 4)
    seen = model.seen
    graph = pc.trace(model, x)
    del seen[:]
    pc.rescale_(model, x, graph=graph)
    runs = [x for x in seen if not reduced(x)]
    assert len(runs) >= 6, "three before, three after"
    assert settings() == before


def test_settings_are_put_back_by_the_last_of_all_threads(told):
    before = settings()
    entered, leave = threading.Event(), threading.Event()

    def other():
        with full_precision():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with pytest.raises(KeyError), full_precision():
        thread.start()
        assert entered.wait(10) and not reduced(settings())
        raise KeyError
    assert not reduced(settings())
    leave.set()
    thread.join()
    assert settings() == before


def test_what_torch_puts_back_is_not_what_another_thread_had_set(told):
    """torch.export puts back what it found, in full precision or not, when others are or not."""
    before = settings()
    precise, kept = full_precision(), settings_kept()
    precise.__enter__()
    kept.__enter__()
    found = settings()
    precise.__exit__(None, None, None)
    put_back(found)
    kept.__exit__(None, None, None)
    assert settings() == before

    precise, kept = full_precision(), settings_kept()
    kept.__enter__()
    precise.__enter__()
    put_back(before)
    kept.__exit__(None, None, None)
    assert not reduced(settings())
    precise.__exit__(None, None, None)
    assert settings() == before
