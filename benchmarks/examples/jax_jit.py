"""Rescaling inside jitted JAX code: diag(G) by JAX, the scales by pathcond_native, on the host."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

import pathcond_native as pc

WIDTHS = (5, 40, 20, 30, 3)
SHAPES = [s for n, m in pairwise(WIDTHS) for s in ((m, n), (m,))]
HIDDEN = WIDTHS[1:-1]


def network(parameters, x, activation=jax.nn.relu):
    weights, biases = parameters[::2], parameters[1::2]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        x = activation(W @ x + b)
    return weights[-1] @ x + biases[-1]


def incidence():
    """B: +1 where a parameter leaves a neuron, -1 where it enters one."""
    neurons = [np.full(WIDTHS[0], -1)]
    neurons += np.split(np.arange(sum(HIDDEN)), np.cumsum(HIDDEN)[:-1])
    neurons += [np.full(WIDTHS[-1], -1)]
    enter, leave = [], []
    for before, after in pairwise(neurons):
        enter += [np.repeat(after, len(before)), after]  # a matrix, then its bias
        leave += [np.tile(before, len(after)), np.full(len(after), -1)]
    enter, leave = np.concatenate(enter), np.concatenate(leave)
    H = np.arange(sum(HIDDEN))
    return [np.flatnonzero(leave == h) for h in H], [np.flatnonzero(enter == h) for h in H]


B = incidence()


def solved(g):
    return pc.solve(B, np.asarray(g)).v.astype(g.dtype)


@jax.jit
def rescaled(parameters):
    squares = [p**2 for p in parameters]
    paths = jax.grad(lambda s: network(s, jnp.ones(WIDTHS[0]), lambda x: x).sum())
    g = jnp.concatenate([part.ravel() for part in paths(squares)])
    v = jax.pure_callback(solved, jax.ShapeDtypeStruct(g.shape, g.dtype), g)
    parts = jnp.split(jnp.exp(-v / 2), np.cumsum([np.prod(shape) for shape in SHAPES])[:-1])
    return [p * part.reshape(p.shape) for p, part in zip(parameters, parts, strict=True)]


if __name__ == "__main__":
    r = np.random.default_rng(0)
    before = [jnp.asarray(r.standard_normal(shape), "float32") for shape in SHAPES]
    after = rescaled(before)
    x = r.standard_normal(WIDTHS[0]).astype("float32")
    run = jax.jit(network)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-4)
    changes = [np.abs(np.log(a / b)).max() for a, b in zip(after, before, strict=True)]
    print("every output as before, parameters changed by factors up to", np.exp(max(changes)))
    assert max(changes) > 0.1
    for a, b in zip(rescaled(after), after, strict=True):  # already at the optimum
        np.testing.assert_allclose(a, b, rtol=1e-4)
