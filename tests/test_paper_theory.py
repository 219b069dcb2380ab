"""Other criteria, the full G and other papers' initialisations, against definitions."""

from itertools import pairwise, product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tqdm")

import pathcond_native as pc  # noqa: E402


def test_criteria_agree_where_the_paper_says_so(experiment, capsys):
    criteria = experiment("criteria")
    criteria.main()
    assert "one neuron, 3 to 2, condition number" in capsys.readouterr().out
    for title in ("two weights", "chain of four weights"):
        facts = criteria.run(f"{title}/3")
        for criterion, found in facts.items():
            assert np.allclose(found, facts["pathcond"], atol=1e-6), (title, criterion)
    # The derivatives of a rescaled network are D^-1 times those of the first.
    model = criteria.network((2, 4, 1), True, 0)
    gradient, curvature = criteria.derivatives(model, 0)
    report = pc.rescale_(model, torch.zeros(1, 2, dtype=torch.float64))
    assert report.objective < report.initial_objective
    theta = torch.cat(
        [p.detach().flatten() for p in criteria.network((2, 4, 1), True, 0).parameters()]
    )
    moved = torch.cat([p.detach().flatten() for p in model.parameters()])
    factors = (moved / theta).numpy()
    again, bent = criteria.derivatives(model, 0)
    assert np.allclose(again, gradient / factors, rtol=1e-9)
    assert np.allclose(bent, curvature / np.outer(factors, factors), rtol=1e-8, atol=1e-10)


def path_lifting(weights, biases):
    """Φ and its Jacobian by enumerating every path; rows of W are outputs."""
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    offsets = np.cumsum([0] + [w.size + b.size for w, b in zip(weights, biases, strict=True)])

    def weight(k, i, j):
        return offsets[k] + i * sizes[k] + j

    def bias(k, i):
        return offsets[k] + weights[k].size + i

    theta = np.concatenate(
        [part.ravel() for pair in zip(weights, biases, strict=True) for part in pair]
    )
    paths = []
    for start in range(len(weights) + 1):  # from the inputs, or from the biases of layer start - 1
        for nodes in product(*(range(n) for n in sizes[max(start, 0) :])):
            first = [] if start == 0 else [bias(start - 1, nodes[0])]
            steps = [weight(start + k, j, i) for k, (i, j) in enumerate(pairwise(nodes))]
            paths.append(first + steps)
    jacobian = np.zeros((len(paths), len(theta)))
    for row, path in enumerate(paths):
        for i in path:
            jacobian[row, i] = np.prod([theta[j] for j in path if j != i])
    return jacobian


@pytest.mark.parametrize("widths", [(2, 3, 1), (2, 3, 2, 2)])
def test_full_g_is_the_jacobian_of_all_paths(experiment, widths):
    diagonal = experiment("diagonal")
    model = diagonal.network(widths, 1.0, 0)
    layers = [layer for layer in model if hasattr(layer, "weight")]
    parts = [[getattr(x, key).detach().numpy() for x in layers] for key in ("weight", "bias")]
    jacobian = path_lifting(*parts)
    g = diagonal.gram(model)
    assert np.allclose(g, jacobian.T @ jacobian, rtol=1e-12, atol=1e-14)
    x = torch.zeros(1, widths[0], dtype=torch.float64)
    assert np.allclose(np.diag(g), pc.diag_g(model, x), rtol=1e-12)

    graph = pc.trace(model, x)
    incidence = graph.incidence().toarray().astype(float)
    exact = diagonal.Exact(g, incidence)
    rng = np.random.default_rng(0)
    offset = None
    for u in rng.normal(size=(4, incidence.shape[1])):
        moved = jacobian * np.exp(incidence @ u / 2)
        values = np.linalg.svd(moved, compute_uv=False)[: exact.rank] ** 2
        assert exact.log_condition(u) == pytest.approx(np.log(values[0] / values[-1]), rel=1e-6)
        by_definition = exact.rank * np.log(values.sum()) - np.log(values).sum()
        value, slope = exact(u)
        offset = value - by_definition if offset is None else offset
        assert value - by_definition == pytest.approx(offset, abs=1e-8)
        for k, step in enumerate(1e-5 * np.eye(len(u))):
            numeric = (exact(u + step)[0] - exact(u - step)[0]) / 2e-5
            assert slope[k] == pytest.approx(numeric, abs=1e-6)
    diagonal.plot(type("Runs", (), {"runs": {"2-3-1/He/0": diagonal.run("2-3-1/He/0")}})(), None)


def test_the_full_criterion_is_never_above_the_diagonal_one(experiment, capsys):
    diagonal = experiment("diagonal")
    diagonal.main()
    assert capsys.readouterr().out.count("decrease kept") == 2 * len(diagonal.WIDTHS)
    facts = diagonal.run("4-8-2-4/small variance/1")
    assert facts["full"]["E"] <= facts["diagonal"]["E"] <= facts["start"]["E"]
    assert 0 < diagonal.share_kept(facts) <= 1


@torch.no_grad()
def test_triangles(experiment):
    starts = experiment("starts")
    x = torch.linspace(0, 1, 2**18 + 1, dtype=torch.float64)[:, None]
    peaks, scales = starts.random_peaks(6, seed=0)
    y = starts.triangles(peaks, scales)(x)[:, 0].numpy()
    wave, total = x[:, 0].numpy(), 0.0
    for a, s in zip(peaks, scales, strict=True):
        wave = np.where(wave <= a, wave / a, 1 - (wave - a) / (1 - a))
        total = total + s * wave
    assert np.abs(y - total).max() <= 1e-15
    bent = np.abs(np.diff(y, 2)) > 1e-12
    assert 1 + (bent & ~np.roll(bent, 1)).sum() == 64
    assert np.allclose(scales[1:-1], scales[:-2] * (1 - peaks[1:-1]) * peaks[2:], rtol=1e-15)
    parabola = starts.triangles(np.full(10, 0.5), 0.25 ** np.arange(1, 11))(x)
    assert float((parabola - (x - x * x)).abs().max()) == pytest.approx(2.4e-7, rel=0.02)


@torch.no_grad()
def test_stiefel(experiment):
    starts = experiment("starts")
    torch.manual_seed(0)
    for m, n in ((5, 3), (3, 5), (1, 4), (64, 64)):
        w = starts.stiefel(m, n)
        gram = w @ w.T if m <= n else w.T @ w
        torch.testing.assert_close(gram, torch.eye(min(m, n), dtype=torch.float64))
        assert float(w.sum()) == pytest.approx((m * n) ** 0.5, rel=1e-12)
    found = {}
    for start in ("Stiefel", "He", "orthogonal"):
        z = torch.randn(256, 64, dtype=torch.float64)
        for layer in starts.mlp([64] * 101, start, seed=0).double():
            before, z = z, layer(z)
        dead = (before == 0).all(0).double().mean()
        found[start] = float(dead), float(z.var(0).mean())
    # Depth 100, width 64: no unit dies and the variance over inputs decays slowly.
    assert found["Stiefel"][0] == 0
    assert 0.02 < found["Stiefel"][1] < 0.5
    assert min(found["He"][0], found["orthogonal"][0]) > 0.2
    assert max(found["He"][1], found["orthogonal"][1]) < 0.5 * found["Stiefel"][1]


def test_the_criterion_is_blind_to_the_scale_of_two_layers(experiment):
    starts = experiment("starts")
    x = torch.zeros(1, 10, dtype=torch.float64)
    points = []
    for alpha in (0.1, 10.0):
        model = starts.two_layers(10, 20, alpha, seed=0)
        points.append(pc.solve(pc.trace(model, x), pc.diag_g(model, x)).u)
    torch.testing.assert_close(points[0], points[1], rtol=0, atol=1e-9)
