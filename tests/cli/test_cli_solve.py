"""`solve` from files, against `solve` itself."""

import json

import numpy as np
import pytest
from scipy.sparse import csc_array, save_npz

from pathcond_native import solve


@pytest.fixture
def problem(tmp_path):
    """The chain 3-4-2 as files; B, g and their paths."""
    r = np.random.default_rng(0)
    B = np.zeros((3 * 4 + 4 + 4 * 2, 4))
    for unit in range(4):
        B[3 * unit : 3 * unit + 3, unit] = B[12 + unit, unit] = -1
        B[16 + 2 * unit : 18 + 2 * unit, unit] = 1
    g = r.lognormal(size=len(B))
    save_npz(tmp_path / "B.npz", csc_array(B))
    np.save(tmp_path / "g.npy", g)
    return B, g, tmp_path / "B.npz", tmp_path / "g.npy"


def test_u_is_that_of_solve(problem, pathcond, tmp_path):
    B, g, *paths = problem
    code, out, err = pathcond("solve", *paths, "-o", tmp_path / "u.npy")
    assert (code, err) == (0, "")
    expected = solve(B, g)
    np.testing.assert_array_equal(np.load(tmp_path / "u.npy"), expected.u)
    assert any(line.split() == ["status", "converged"] for line in out.splitlines())
    assert any(line.split() == ["neurons", "4"] for line in out.splitlines())


def test_json_of_every_option(problem, pathcond):
    B, g, *paths = problem
    flags = ("--method", "cd", "--max-sweeps", "3", "--tol", "0", "--max-scale", "1.2")
    code, out, _ = pathcond("solve", *paths, *flags, "--threads", "1", "--json")
    expected = solve(B, g, method="cd", max_sweeps=3, tol=0, max_scale=1.2, threads=1)
    facts = json.loads(out)
    assert code == 0  # it was cut short on purpose
    assert facts["objective"] == expected.objective
    assert facts["sweeps"] == 3
    assert facts["largest_scale"] == expected.scales.max() <= 1.2


def test_no_convergence_is_a_code_of_its_own(problem, pathcond):
    _, _, *paths = problem
    code, out, err = pathcond("solve", *paths, "--tol", "1e-300", "--json")
    assert code == 1
    assert err.startswith("pathcond: no convergence: ") and "--tol" in err
    assert json.loads(out)["converged"] is False


@pytest.mark.parametrize("which", ["B", "g", "both"])
def test_bad_files_are_named_in_one_line(problem, pathcond, tmp_path, which):
    _, _, B, g = problem
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    paths = {"B": (g, g), "g": (B, tmp_path / "objects.npy"), "both": (B, tmp_path / "none.npy")}
    code, out, err = pathcond("solve", *paths[which], "-o", tmp_path / "u.npy")
    assert (code, out) == (3, "")
    assert err.startswith(f"pathcond: {'B' if which == 'B' else 'g'}: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "u.npy").exists()


def test_a_dense_matrix(problem, pathcond, tmp_path):
    B, g, _, weights = problem
    np.save(tmp_path / "B.npy", B)
    code, out, _ = pathcond("solve", tmp_path / "B.npy", weights, "-o", tmp_path / "u.npy")
    assert code == 0 and str(tmp_path / "u.npy") in out
    np.testing.assert_array_equal(np.load(tmp_path / "u.npy"), solve(B, g).u)


def test_files_of_the_wrong_kind_are_told_in_plain_words(problem, pathcond, tmp_path):
    _, g, matrix, weights = problem
    text, archive = tmp_path / "g.txt", tmp_path / "g.npz"
    np.savetxt(text, g)
    np.savez(archive, g=g)
    for arguments, words in (
        ((matrix, "none.npy"), "g: none.npy: there is no such file"),
        (("none.npz", weights), "B: none.npz: there is no such file"),
        ((tmp_path, weights), "there is no such file"),
        ((matrix, text), "no array of numbers by numpy.save (not in that format"),
        ((matrix, archive), "is an archive; expected one array, .npy"),
        ((archive, weights), "no matrix of scipy.sparse.save_npz"),
        ((weights, matrix), "g: "),
    ):
        code, out, err = pathcond("solve", *arguments)
        assert (code, out) == (3, "") and words in err and len(err.splitlines()) == 1


def test_an_input_is_not_overwritten(problem, pathcond):
    _, _, matrix, weights = problem
    before = weights.read_bytes()
    link = weights.with_name("link.npy")
    link.symlink_to(weights)
    for output in (weights, link):
        code, out, err = pathcond("solve", matrix, weights, "-o", output)
        assert (code, out) == (2, "") and "is an input" in err
    assert weights.read_bytes() == before


def test_an_argument_that_solve_refuses(problem, pathcond):
    _, g, *paths = problem
    np.save(paths[1], -g)
    code, _, err = pathcond("solve", *paths)
    assert code == 3 and err.startswith("pathcond: g: ") and len(err.splitlines()) == 1


def test_an_output_that_cannot_be_written(problem, pathcond, tmp_path):
    _, _, *paths = problem
    code, _, err = pathcond("solve", *paths, "-o", tmp_path / "nowhere" / "u.npy")
    assert code == 5 and "cannot be written" in err and len(err.splitlines()) == 1
