"""criterion="enorm": the sum of squares after the rescaling, N(u) = sum_i g_i exp(-(B u)_i)."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from problems import (
    GENERAL,
    PAIRS,
    decades_inside,
    from_ends,
    layered,
    long_rows,
    mild,
    network,
    residual_stream,
    squared_relu,
)
from scipy.optimize import minimize
from test_properties import moderate, pair_problems
from tolerances import OPTIMUM, STATIONARITY_SEEN

import pathcond_native as pc

METHODS = ("auto", "newton", "cd")


def squares(B, g, u):
    """Every square after the rescaling."""
    return g * np.exp(-(B @ u))


def slope(B, g, u):
    """The derivative of log N."""
    rest = squares(B, g, u)
    return -(B.T @ rest) / rest.sum()


@pytest.mark.parametrize("method", METHODS)
def test_one_neuron(method):
    """lambda^4 is the quotient of what leaves and what enters."""
    B = np.array([[-1], [-1], [1], [1], [0]])
    result = pc.solve(B, [1.0, 2.0, 40.0, 8.0, 5.0], criterion="enorm", method=method)
    assert result.scales == pytest.approx([16**0.25])
    assert result.objective == pytest.approx(2 * np.sqrt(3 * 48) + 5)
    assert result.initial_objective == pytest.approx(56)


def test_two_layers():
    """A 1-1-1-1 network without biases: all three weights get the same square."""
    B = np.array([[-1, 0], [1, -1], [0, 1]])
    result = pc.solve(B, [1.0, 8.0, 27.0], criterion="enorm")
    np.testing.assert_allclose(squares(B, [1.0, 8.0, 27.0], result.u), 6.0, rtol=1e-11)


@pytest.mark.parametrize("weights", [mild, decades_inside])
@pytest.mark.parametrize("incidence", PAIRS)
def test_optimum(incidence, weights):
    r = np.random.default_rng(0)
    problem = incidence(r)
    g = weights(r, problem.layer)
    result = pc.solve(problem.B, g, criterion="enorm")
    B = problem.B.astype(float)
    assert result.converged
    assert np.abs(slope(B, g, result.u)[~result.frozen]).max() <= STATIONARITY_SEEN
    assert result.objective == pytest.approx(squares(B, g, result.u).sum(), rel=1e-12)
    assert result.initial_objective == pytest.approx(g.sum(), rel=1e-12)
    assert (np.diff(result.history) <= 1e-13 * result.history[:-1]).all()


@pytest.mark.parametrize("incidence", [layered, residual_stream, squared_relu, long_rows])
def test_against_scipy(incidence):
    r = np.random.default_rng(1)
    problem = incidence(r)
    B, g = problem.B.astype(float), mild(r, problem.layer)

    def log_sum(u):
        return np.log(squares(B, g, u).sum()), slope(B, g, u)

    best = minimize(log_sum, np.zeros(B.shape[1]), jac=True, method="L-BFGS-B", options={
        "maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 50,
    })  # fmt: skip
    for method in ("auto", "newton"):
        result = pc.solve(problem.B, g, criterion="enorm", method=method)
        assert np.log(result.objective) <= best.fun + 1e-14
        np.testing.assert_allclose(result.u, best.x, atol=1e-5)


@pytest.mark.parametrize("incidence", GENERAL)
def test_of_any_values(incidence):
    r = np.random.default_rng(2)
    problem = incidence(r)
    g = mild(r, problem.layer)
    result = pc.solve(problem.B, g, criterion="enorm")
    assert result.converged
    assert np.abs(slope(problem.B.astype(float), g, result.u)).max() <= STATIONARITY_SEEN


def test_cd_makes_the_cycles_of_its_paper():
    r = np.random.default_rng(3)
    problem = residual_stream(r)
    g = mild(r, problem.layer)
    B = problem.B.astype(float)
    signs = B.toarray().T
    u = np.zeros(B.shape[1])
    for sweeps in (1, 2, 3):
        for h in range(len(u)):
            now = squares(B, g, u)
            u[h] += 0.5 * np.log(now[signs[h] > 0].sum() / now[signs[h] < 0].sum())
        options = {"method": "cd", "max_sweeps": sweeps, "tol": 0.0}
        np.testing.assert_allclose(
            pc.solve(problem.B, g, criterion="enorm", **options).u, u, rtol=0, atol=1e-12
        )


def dead_layer():
    """The first of two hidden layers has a neuron that nothing enters and one that none leaves."""
    problem = network([4, 5, 6, 3])
    r = np.random.default_rng(4)
    g, B = mild(r, problem.layer), problem.B.toarray()
    g[B[:, 1] < 0] = 0
    g[B[:, 3] > 0] = 0
    return problem.B, g


@pytest.mark.parametrize("method", METHODS)
def test_one_sided_neurons_stay(method):
    B, g = dead_layer()
    options = {"criterion": "enorm", "method": method}
    if method == "cd":
        options |= {"max_sweeps": 2000, "tol": 1e-13}
    result = pc.solve(B, g, **options)
    assert result.converged
    assert np.flatnonzero(result.frozen).tolist() == [1, 3]
    assert (result.u[[1, 3]] == 0).all()
    others = np.setdiff1d(np.arange(B.shape[1]), [1, 3])
    expected = pc.solve(B[:, others], g, criterion="enorm")
    np.testing.assert_allclose(result.u[others], expected.u, atol=OPTIMUM)
    assert result.objective == pytest.approx(expected.objective, rel=1e-13)
    started = pc.solve(B, g, u0=np.ones(B.shape[1]), **options)
    assert (started.u[[1, 3]] == 0).all()


def test_max_scale_is_kept():
    r = np.random.default_rng(5)
    problem = layered(r)
    B, g = problem.B.astype(float), 10 * mild(r, problem.layer) ** 2
    farthest = np.abs(pc.solve(problem.B, g, criterion="enorm").u).max()
    edge = 0.5 * farthest
    result = pc.solve(problem.B, g, criterion="enorm", max_scale=np.exp(edge / 2))
    best = minimize(
        lambda u: (np.log(squares(B, g, u).sum()), slope(B, g, u)),
        np.zeros(B.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-edge, edge)] * B.shape[1],
        options={"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    assert result.converged
    assert np.abs(result.u).max() <= edge * (1 + 1e-12)
    np.testing.assert_allclose(result.u, best.x, atol=1e-5)


@moderate
@given(problem=pair_problems())
def test_never_above_the_start(problem):
    B, g = problem
    result = pc.solve(B, g, criterion="enorm")
    total = squares(B, g, result.u).sum()
    assert result.objective == pytest.approx(total, rel=1e-9, abs=1e-300)
    assert total <= g.sum() * (1 + 1e-12)
    present = B[g > 0]
    one_sided = ~((present > 0).any(0) & (present < 0).any(0))
    np.testing.assert_array_equal(result.frozen, one_sided)
    assert not result.u[one_sided].any()


def test_what_the_callback_is_told():
    r = np.random.default_rng(6)
    problem = layered(r)
    told = []
    result = pc.solve(
        problem.B, mild(r, problem.layer), criterion="enorm", callback=lambda *x: told.append(x)
    )
    assert [x[0] for x in told] == list(range(1, result.sweeps + 1))
    np.testing.assert_array_equal([x[1] for x in told], result.history[1:])


def test_it_starts_where_it_is_told():
    r = np.random.default_rng(7)
    problem = layered(r)
    g = mild(r, problem.layer)
    best = pc.solve(problem.B, g, criterion="enorm")
    again = pc.solve(problem.B, g, criterion="enorm", u0=best.u, max_sweeps=0)
    assert again.initial_objective == pytest.approx(best.objective, rel=1e-13)
    assert again.gradient_norm <= STATIONARITY_SEEN
    np.testing.assert_array_equal(again.u, best.u)


def test_unusable_arguments():
    B = np.array([[1], [-1]])
    for wrong in ("cle", "l2", None):
        with pytest.raises(pc.InvalidInputError, match="criterion: expected"):
            pc.solve(B, [1.0, 1.0], criterion=wrong)
    with pytest.raises(pc.InvalidInputError, match="g: "):
        pc.solve(B, [1.0, -1.0], criterion="enorm")
    broken = sp.csc_array(([1.0, -1.0], [0, 7], [0, 2]), shape=(2, 1))
    with pytest.raises(pc.InvalidInputError, match="B: "):
        pc.solve(broken, [1.0, 1.0], criterion="enorm")


def test_forms_of_B():
    """Repeated entries add up, and nothing to do is nothing done."""
    repeated = sp.csc_array(([1.0, -2.0, 1.0, 1.0], [0, 1, 1, 0], [0, 4]), shape=(2, 1))
    plain = np.array([[2.0], [-1.0]])
    found = pc.solve(repeated, [3.0, 5.0], criterion="enorm")
    np.testing.assert_allclose(found.u, pc.solve(plain, [3.0, 5.0], criterion="enorm").u)
    idle = pc.solve(from_ends([0, 0], [-1, -1], 1), [0.0, 0.0], criterion="enorm")
    assert idle.frozen.all()
    assert idle.objective == 0
