"""`solve` on a matrix of your own, without torch: any B and any g >= 0."""

import numpy as np

import pathcond_native as pc

# A network 2 -> 3 -> 1 by hand. Rows are parameters: W1 (3 x 2), b1 (3), W2 (1 x 3), b2 (1).
# A column per hidden neuron: -1 where the parameter enters it, +1 where it leaves it.
enters = np.concatenate([np.repeat(np.eye(3), 2, axis=0), np.eye(3)])
B = np.concatenate([-enters, np.eye(3), np.zeros((1, 3))])
g = np.array([4.0, 9.0, 1.0, 1.0, 0.2, 0.1, 1.0, 2.0, 1.0, 30.0, 1.0, 0.5, 1.0])

result = pc.solve(B, g)
print(result)
assert result.converged and result.gradient_norm <= 1e-12

# The optimality condition, by hand: each neuron's share of w = g exp(B u) that leaves it, minus the
# share that enters it, is the same difference of counts of parameters.
w = g * np.exp(B @ result.u)
np.testing.assert_allclose(B.T @ w / w.sum(), B.sum(axis=0) / len(g), atol=1e-12)

# The same by index lists per neuron, as the authors' code has them.
leaving = [np.flatnonzero(column > 0) for column in B.T]
entering = [np.flatnonzero(column < 0) for column in B.T]
np.testing.assert_allclose(pc.solve((leaving, entering), g).u, result.u, atol=1e-9)

# Squared ReLU: what enters such a neuron counts twice when it leaves.
squared = np.where(B < 0, -2.0, B)
u = pc.solve(squared, g).u
w = g * np.exp(squared @ u)
np.testing.assert_allclose(squared.T @ w / w.sum(), squared.sum(axis=0) / len(g), atol=1e-12)
