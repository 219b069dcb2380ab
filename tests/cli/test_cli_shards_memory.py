"""How much memory a checkpoint in shards takes: a few times its largest tensor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

LAYERS, WIDTH = 24, 1024  # 100 MB, of tensors of 4 MB

MEASURE = """
import json, sys, threading
from pathlib import Path
from small_nets import net
import torch
import pathcond_native as pc
from pathcond_native.__main__ import main
from test_cli_shards_memory import WIDTH
from sharded import contents

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

pc.rescale_(net(), torch.ones(2, 3, 8, 8))  # all is loaded
Path("/proc/self/clear_refs").write_text("5")  # peak := current
before = {name: status(name) for name in ("VmRSS", "RssAnon")}
most, done = [0], threading.Event()

def watch():
    while not done.wait(0.001):
        most[0] = max(most[0], status("RssAnon"))

watching = threading.Thread(target=watch)
watching.start()
where = ("--checkpoint", sys.argv[1], "-o", sys.argv[2], "--input", f"1x{WIDTH}")
code = main(["rescale", "test_cli_shards_memory:deep", *where])
done.set()
watching.join()
print(json.dumps([code, most[0] - before["RssAnon"], status("VmHWM") - before["VmRSS"]]))
"""


def deep():
    from torch import nn

    pairs = ((nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(LAYERS))
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


def write(folder):
    from safetensors.torch import save_file

    generator, where = torch.Generator().manual_seed(0), {}
    for k in range(LAYERS):
        weight = torch.randn(WIDTH, WIDTH, generator=generator) * (2 / WIDTH) ** 0.5
        part = {f"{2 * k}.weight": weight, f"{2 * k}.bias": torch.zeros(WIDTH)}
        save_file(part, folder / f"{k}.safetensors")
        where |= dict.fromkeys(part, f"{k}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    return index


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_a_few_times_the_largest_tensor(tmp_path):
    index = write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(index), str(tmp_path / "out")],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    code, anonymous, all_pages = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    tensor = 8 * WIDTH * WIDTH  # in float64
    assert anonymous <= 8 * tensor
    # Pages of files too; how many depends on when a busy machine lets them be given back. g takes
    # 24 such tensors, the model 12, and in memory there would be several of both.
    assert all_pages <= 24 * tensor
