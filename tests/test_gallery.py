"""Every example of the gallery runs, and asserts its own outcome."""

import runpy
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "benchmarks" / "examples"
EXAMPLES = sorted(GALLERY.glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(GALLERY.parents[1]), prepend=":")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_they_are_for(path):
    text = path.read_text()
    assert text.startswith('"""') and "assert" in text
    assert len(text.splitlines()) <= 65


def test_nothing_in_the_gallery_is_forgotten():
    """What is in the folder `native` is built and run by tests/native."""
    found = {x for x in GALLERY.iterdir() if x.name != "__pycache__"}
    assert found - {*EXAMPLES, GALLERY / "README.md"} == {GALLERY / "native"}
    assert len(EXAMPLES) >= 8
    listed = (GALLERY / "README.md").read_text()
    for path in EXAMPLES:
        assert f"| `{path.name}` |" in listed
