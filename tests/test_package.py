"""What importing the package does, and its public names."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import pathcond_native as pc


def loaded_after(statements):
    code = f"import sys\n{statements}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_needs_numpy_only():
    loaded = loaded_after("import pathcond_native")
    assert "numpy" in loaded
    assert not loaded & {"torch", "scipy", "jax", "cupy", "pandas", "matplotlib"}


def test_solve_needs_numpy_only():
    loaded = loaded_after(
        "import pathcond_native as pc\n"
        "r = pc.solve(([[0]], [[1]]), [1.0, 2.0])\n"
        "r.v, r.scales, r.parameter_scales, repr(r)\n"
        "pc.solve([[1], [-1]], [1.0, 2.0], method='cd')"
    )
    assert not loaded & {"torch", "scipy"}


def test_public_names_resolve():
    assert len(set(pc.__all__)) == len(pc.__all__)
    for name in pc.__all__:
        assert getattr(pc, name) is not None
    assert set(pc.__all__) <= set(dir(pc))
    assert {"solve", "SolveResult", "InvalidInputError", "PathcondError"} <= set(pc.__all__)


def test_every_public_name_is_in_all():
    public = {
        name
        for name, value in vars(pc).items()
        if getattr(value, "__module__", "").startswith("pathcond_native")
        and not name.startswith("_")
    }
    assert public <= set(pc.__all__)


def test_unknown_names_raise_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pc.nonsense  # noqa: B018


def test_star_import():
    names = {}
    exec("from pathcond_native import *", names)
    assert set(pc.__all__) <= set(names)


def test_every_public_object_is_documented():
    for name in pc.__all__:
        if not name.startswith("__"):
            assert getattr(pc, name).__doc__, name


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", pc.__version__)
    assert pc.__version__ == version("pathcond-native")


def test_is_marked_as_typed():
    assert (Path(pc.__file__).parent / "py.typed").is_file()


def test_docstring_names_every_argument():
    import inspect

    parameters = inspect.signature(pc.solve).parameters
    for name in parameters:
        assert f"\n        {name}: " in inspect.getdoc(pc.solve).replace("\n    ", "\n        ")
    keyword_only = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert keyword_only == [
        "criterion",
        "method",
        "tol",
        "max_sweeps",
        "max_scale",
        "u0",
        "threads",
        "callback",
    ]
