"""Elimination of integer equations against dense linear algebra."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from pathcond_native.engine.relations import eliminate


def solved(equations):
    equations = np.atleast_2d(np.array(equations, dtype=np.int64))
    solution = eliminate(csr_array(equations), np.arange(equations.shape[1]))
    combination = solution.combination.toarray()
    assert not (equations @ combination).any()
    free = np.flatnonzero(combination.any(axis=0))
    assert (combination[free][:, free] == np.eye(len(free))).all()
    return combination, free, solution.zero_because


@pytest.mark.parametrize("seed", range(40))
def test_random_equations_lose_no_freedom_to_unit_pivots(seed):
    random = np.random.default_rng(seed)
    m, n = random.integers(1, 12), random.integers(2, 15)
    equations = random.choice([-1, 0, 0, 0, 1], size=(m, n))
    _, free, _ = solved(equations)
    nullity = n - np.linalg.matrix_rank(equations)
    assert len(free) <= nullity
    if np.abs(equations).sum(1).max() <= 2:
        assert len(free) == nullity or (equations.sum(1) != 0).any()


def test_chains_and_cycles():
    n = 50
    chain = np.eye(n, dtype=np.int64) - np.roll(np.eye(n, dtype=np.int64), 1, axis=1)
    combination, free, _ = solved(chain)
    assert len(free) == 1 and (combination[:, free] == 1).all()


def test_one_shift_for_many_pairs_stays_one_variable():
    """b_i = a_i + t: the shared t is kept, each b is eliminated."""
    n = 6
    rows = np.hstack([-np.eye(n), np.eye(n), -np.ones((n, 1))])
    combination, free, _ = solved(rows)
    assert len(free) == n + 1 and 2 * n in free
    assert (np.abs(combination).sum(1) <= 2).all()


def test_common_factors_are_divided_out():
    combination, free, _ = solved([[2, -2, 0], [0, 3, 3]])
    assert len(free) == 1 and set(np.abs(combination[:, free[0]])) == {1}


def test_without_a_unit_pivot_variables_become_zero():
    _, free, zero_because = solved([[2, -3, 0, 0], [0, 0, 1, -1]])
    assert len(free) == 1 and (zero_because[:2] == 0).all() and (zero_because[2:] == -1).all()


def test_a_single_term_forces_zero_and_names_its_equation():
    _, free, zero_because = solved([[1, -1, 0], [0, 0, 2]])
    assert len(free) == 1 and zero_because[2] == 1


def test_large_coefficients_are_dropped():
    powers = np.zeros((8, 9), dtype=np.int64)
    powers[np.arange(8), np.arange(8)] = -4
    powers[np.arange(8), np.arange(1, 9)] = 1
    combination, free, _ = solved(powers)
    assert len(free) == 0 and not combination.any()
