"""Memory that runs out in any stage of a rescaling: model, gradients and state keep every bit."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from exhaustion import ENVIRONMENT

EXHAUST = """
    import importlib, inspect, json
    from contextlib import nullcontext
    import torch
    from torch import nn
    from exhaustion import BUDGETS, left, sweep
    from training_zoo import everything
    from pathcond_native.model import rescale_, trace

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 10)
    )
    x = torch.randn(500, 100)
    optimizer = torch.optim.Adam(model.parameters())
    model(x).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        model[0].weight *= 30
    traced = trace(model, x)
    tensors = [*model.parameters(), *(p.grad for p in model.parameters())]
    tensors += [y for p in model.parameters() for y in optimizer.state[p].values()]
    values = [y.detach().clone() for y in tensors]

    def put_back():
        with torch.no_grad():
            for y, value in zip(tensors, values):
                y.copy_(value)

    def exhausted(module, stage):
        real = getattr(module, stage) if stage else None
        graph = None if stage == "capture" else traced

        def action(budget):
            def limited(*args, **options):
                with left(budget):
                    found = real(*args, **options)
                    return list(found) if inspect.isgenerator(found) else found

            if stage:
                setattr(module, stage, limited)
            try:
                with nullcontext() if stage else left(budget):
                    rescale_(model, x, optimizer=optimizer, graph=graph)
                put_back()
            finally:
                if stage:
                    setattr(module, stage, real)
                assert everything(model, optimizer) == before

        return sweep(action, BUDGETS)

    rescale_(model, x, optimizer=optimizer)  # everything is imported
    put_back()
    before = everything(model, optimizer)
    rescale = importlib.import_module("pathcond_native.model.rescale")
    ended = {"": exhausted(None, "")}
    ended["capture"] = exhausted(importlib.import_module("pathcond_native.model.trace"), "capture")
    criteria = importlib.import_module("pathcond_native.engine.criteria")
    ended["solve"] = exhausted(criteria, "solve")
    for stage in ("problem", "observe", "rescale_parameters", "moved_values"):
        ended[stage] = exhausted(rescale, stage)
    # No change is small enough, so that it has to be proven to be rounding.
    importlib.import_module("pathcond_native.model.verify").TOLERANCE[torch.float32] = 0.0
    ended["is_rounding"] = exhausted(rescale, "is_rounding")
    print(json.dumps(ended))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_that_runs_out_in_any_stage():
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, (here, here.parent)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXHAUST)],
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    for stage, ended in json.loads(done.stdout).items():
        assert ended.pop("done", 0) > 0, (stage, ended)
        needs_little = ("capture", "solve", "rescale_parameters")
        assert ended or stage in needs_little, f"{stage} always had enough"
        for message in ended:
            assert message.startswith("OutOfMemoryError: "), message
            assert "not enough memory, nothing was changed (" in message
