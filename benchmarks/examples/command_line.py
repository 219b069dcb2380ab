"""The command line: a safetensors checkpoint in, a rescaled one out."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

NETS = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 3))
"""


def pathcond(*arguments, cwd):
    """What a shell would run as `pathcond ...`."""
    command = [sys.executable, "-m", "pathcond_native", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def build() -> nn.Module:
    scope: dict = {}
    exec(NETS, scope)
    return scope["build"]()


with tempfile.TemporaryDirectory() as folder:
    here = Path(folder)
    (here / "nets.py").write_text(NETS)
    model = build()
    save_file(model.state_dict(), here / "net.safetensors", metadata={"epoch": "3"})

    where = ("nets:build", "--checkpoint", "net.safetensors", "--input", "1x6")
    said = pathcond("rescale", *where, "-o", "rescaled.safetensors", "--json", cwd=here)
    facts = json.loads(said)
    rescaled = build()
    rescaled.load_state_dict(load_file(here / "rescaled.safetensors"))

print(json.dumps({key: facts[key] for key in ("neurons", "objective", "gradient_norm")}, indent=2))
x = torch.randn(5, 6)
torch.testing.assert_close(rescaled(x), model(x), rtol=1e-4, atol=1e-5)
assert facts["neurons"] == 58 and facts["gradient_norm"] <= 1e-12
assert not torch.equal(rescaled[0].weight, model[0].weight)
