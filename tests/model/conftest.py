"""Shared fixtures of the model tests."""

from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def reference():
    """Loads a network of the paper's authors: B, g and their iterates."""
    data = Path(__file__).parents[1] / "data"
    return lambda name: np.load(data / f"{name}.npz")


@pytest.fixture
def bits():
    """Every parameter and buffer of a model, to compare bit for bit."""

    def snapshot(model):
        return {name: x.detach().numpy().tobytes() for name, x in model.state_dict().items()}

    return snapshot
