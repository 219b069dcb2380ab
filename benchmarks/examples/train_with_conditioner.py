"""Rescaling during training: the optimiser's momentum moves with the parameters."""

import torch
from torch import nn

import pathcond_native as pc

torch.manual_seed(0)
x = torch.randn(256, 8)
y = (x[:, :1] * x[:, 1:2]).tanh()
model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
conditioner = pc.PathConditioner(model, optimizer, x[:1], every=50)


def loss():
    return nn.functional.mse_loss(model(x), y)


losses, calls = [], 0
for _ in range(200):
    optimizer.zero_grad()
    error = loss()
    error.backward()
    optimizer.step()
    losses.append(error.item())
    before = loss().item()
    if (report := conditioner.step()) is not None:  # after steps 50, 100, ...
        calls += 1
        print(f"step {len(losses)}: loss {before:.6f}, objective {report.initial_objective:.1f} "
              f"to {report.objective:.1f}")  # fmt: skip
        assert abs(loss().item() - before) <= 1e-5 * before  # the function stays
        assert report.objective <= report.initial_objective

assert calls == 4
assert losses[-1] < 0.5 * losses[0]

# What a checkpoint needs to go on where it was.
saved = conditioner.state_dict()
resumed = pc.PathConditioner(model, optimizer, x[:1], every=50)
resumed.load_state_dict(saved)
assert resumed.state_dict() == saved
