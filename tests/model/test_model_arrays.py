"""g of a traced model as other packages have it: whole, parameter by parameter, streamed."""

import array_api_strict as xp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from test_array_api import Capsule

import pathcond_native as pc

CONVERSIONS = {"jax": jnp.asarray, "array API": xp.asarray, "DLPack": Capsule}
KINDS = {"jax": jax.Array, "array API": type(xp.ones(1)), "DLPack": np.ndarray}


@pytest.fixture
def graph():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(5, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 3),
    )
    return pc.trace(model, torch.ones(1, 2, 6, 6))


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_every_form_of_g(graph, kind):
    convert = CONVERSIONS[kind]
    g = np.random.default_rng(0).lognormal(0, 1, graph.shape[0]).astype(np.float32)
    parts = [
        convert(g[info.offset : info.offset + info.size].reshape(info.shape))
        for info in graph.parameters
    ]
    expected = pc.solve(graph, g)
    for form in (convert(g), parts, tuple(parts), iter(parts)):
        result = pc.solve(graph, form)
        for name in ("u", "parameter_scales"):
            found = getattr(result, name)
            assert isinstance(found, KINDS[kind])
            np.testing.assert_allclose(np.asarray(found), getattr(expected, name), atol=1e-6)
    with pytest.raises(pc.InvalidInputError, match=r"^g: expected 6 arrays"):
        pc.solve(graph, parts[:-1])
    with pytest.raises(pc.InvalidInputError, match=r"^g\[5\]: expected real numbers"):
        pc.solve(graph, [*parts[:-1], convert(np.ones(3, complex))])
