"""What ``python -m benchmarks.cuda`` measures, at a small size, the device played by the host."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import cuda_measurements as cuda

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{x}:UserWarning")
    for x in ("Sparse CS. tensor support", "Sparse invariant checks")
]


@pytest.fixture(autouse=True)
def small(monkeypatch, emulated):
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "REPEATS", 2)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.mark.parametrize("taps", [(), (3, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_merges(taps, dtype, emulated):
    facts = cuda.merge(cuda.layers(20, 4, taps), dtype, cuda.copy_bandwidth(1 << 10))
    assert facts["share_of_copy_bandwidth"] > 0 and facts["gradient"] <= 1e-12
    assert emulated.refused == 0


@pytest.mark.parametrize("taps", [(), (3, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scales(taps, dtype, emulated):
    facts = cuda.scaled(cuda.layers(20, 4, taps), dtype, cuda.copy_bandwidth(1 << 10))
    assert facts["share_of_copy_bandwidth"] > 0 and emulated.launches[0] == [dtype] * 4


def test_matrices(emulated):
    B = cuda.layers(12, 4, (3, 3)).incidence()
    for matrix in (B, cuda.shuffled(B)):
        facts = cuda.columns(matrix, 1e9)
        assert facts["entries"] == facts["parameters"] + 2 * 144 * 9 and emulated.refused == 0
    assert (cuda.shuffled(B) != B).nnz > 0


@pytest.mark.parametrize("method", ["auto", "cd"])
def test_sweeps(method, emulated):
    facts = cuda.levels(cuda.chain(4, 8), method)
    assert facts["tensors"] == 8 and emulated.refused == 0


def test_models(emulated):
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    facts = cuda.rescaling(model, (2, 5))
    assert facts["rescale_verified_ratio"] > 0 and emulated.refused == 0


def test_every_measurement_has_a_name(emulated, monkeypatch, capsys):
    layers, chain, copy_bandwidth = cuda.layers, cuda.chain, cuda.copy_bandwidth
    monkeypatch.setattr(cuda, "layers", lambda width, depth, taps: layers(12, 3, taps))
    monkeypatch.setattr(cuda, "chain", lambda width, depth: chain(4, 8))
    monkeypatch.setattr(cuda, "copy_bandwidth", lambda: copy_bandwidth(1 << 10))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 9, stride=8))
    monkeypatch.setattr(cuda, "resnet50", lambda: model)
    cuda.main([])
    names = capsys.readouterr().out.splitlines()
    assert len(names) == 18
    cuda.main(names)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == len(names) and found[0]["bytes_per_second"] > 0
    assert emulated.refused == 0
