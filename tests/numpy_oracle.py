"""Independent and slow: F, its gradient, its minimiser and the paper's sweep, in NumPy.

Nothing here uses the package. Rows with g = 0 are removed first; p is the number of rows left. A
sparse B is only multiplied with; the minimiser and the sweep make it dense.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Oracle:
    """The problem without its rows of g = 0; `B` is (p, H), `log_g` (p,)."""

    B: object
    log_g: np.ndarray

    @classmethod
    def of(cls, B, g):
        B = B.tocsr() if hasattr(B, "tocsr") else np.asarray(B)
        g = np.asarray(g, np.float64)
        return cls(B[g > 0].astype(np.float64), np.log(g[g > 0]))

    @cached_property
    def dense(self):
        return self.B.toarray() if hasattr(self.B, "toarray") else self.B

    @property
    def rows(self):
        return len(self.log_g)

    @cached_property
    def degree(self):
        return np.asarray(self.B.sum(axis=0)).ravel()

    def objective(self, u):
        """F(u)."""
        v = self.B @ u
        largest = (self.log_g + v).max()
        return self.rows * (largest + np.log(np.exp(self.log_g + v - largest).sum()) - v.mean())

    def shares(self, u):
        """pi (p,): weights of the rows, summing to 1."""
        exponent = self.log_g + self.B @ u
        weights = np.exp(exponent - exponent.max())
        return weights / weights.sum()

    def gradient(self, u):
        """dF/du divided by p."""
        return self.B.T @ self.shares(u) - self.degree / self.rows

    def stationarity(self, u):
        return np.abs(self.gradient(u)).max(initial=0)

    def hessian(self, u):
        """Second derivative of F divided by p."""
        shares = self.shares(u)
        mean = self.B.T @ shares
        return (self.dense.T * shares) @ self.dense - np.outer(mean, mean)

    def is_unique(self):
        """F is constant exactly along the z for which B z is the same for all rows."""
        augmented = np.column_stack([self.dense, np.ones(self.rows)])
        gram = augmented.T @ augmented
        return np.linalg.matrix_rank(gram, hermitian=True) == len(gram)

    def minimise(self):
        """Damped Newton from 0; of several minimisers, any."""
        u = np.zeros(self.B.shape[1])
        for _ in range(500):
            gradient = self.gradient(u)
            size = np.abs(gradient).max(initial=0)
            if size < 1e-15:
                break
            damped = self.hessian(u) + 1e-3 * size * np.eye(len(u))
            step = -np.linalg.lstsq(damped, gradient, rcond=1e-14)[0]
            step *= min(1.0, 10 / np.abs(step).max())
            while step.any() and not self._better(u, u + step, size):
                step /= 2
                if np.abs(step).max() < 1e-16:
                    return u
            u = u + step
        return u

    def _better(self, u, trial, size):
        before, after = self.objective(u) / self.rows, self.objective(trial) / self.rows
        if abs(after - before) < 1e-13 * (1 + abs(before)):
            return self.stationarity(trial) < size
        return after < before

    def coordinate_descent(self, sweeps, u0=None):
        """The paper's sweep: neurons in order, each at its exact minimiser. u after `sweeps`."""
        u = np.zeros(self.B.shape[1]) if u0 is None else np.array(u0, np.float64)
        for _ in range(sweeps):
            for neuron in range(len(u)):
                u[neuron] += self.exact_step(self.shares(u), neuron)
        return u

    def exact_step(self, shares, neuron):
        """Root over s of sum_k (p k - d) S_k e^(k s) - d S_0, S_k: weight of the entries k."""
        column = self.dense[:, neuron]
        values = np.unique(column)
        coefficients = np.array(
            [
                (self.rows * value - self.degree[neuron]) * shares[column == value].sum()
                for value in values
            ]
        )
        if not (coefficients[0] < 0 < coefficients[-1]):
            return 0.0  # flat, or no minimiser
        if (values == np.round(values)).all():
            return _positive_root(values.astype(int), coefficients)
        return _bisected(values, coefficients)


def _positive_root(powers, coefficients):
    """log of the only t > 0 with sum_k coefficients_k t^powers_k = 0."""
    polynomial = np.zeros(powers[-1] - powers[0] + 1)
    polynomial[powers[-1] - powers] = coefficients
    roots = np.roots(polynomial)
    real = roots[(np.abs(roots.imag) <= 1e-9 * np.abs(roots)) & (roots.real > 0)].real
    (root,) = real
    return np.log(root)


def _bisected(values, coefficients):
    """Root over s of the function sum_k coefficients_k exp(values_k s), negative, then positive."""
    low, high = -700.0, 700.0
    for _ in range(200):
        middle = (low + high) / 2
        exponents = values * middle
        value = (coefficients * np.exp(exponents - exponents.max())).sum()
        low, high = (middle, high) if value < 0 else (low, middle)
    return (low + high) / 2
