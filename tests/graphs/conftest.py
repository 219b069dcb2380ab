"""Shared fixtures of the tests of ONNX graphs."""

import numpy as np
import pytest


@pytest.fixture
def image():
    return {"x": np.random.default_rng(5).standard_normal((3, 2, 8, 8)).astype(np.float32)}
