"""Fixtures of several test files."""

import importlib
from argparse import Namespace
from pathlib import Path

import pytest


@pytest.fixture
def experiment(monkeypatch):
    """Imports one of the paper's experiments, no part of the package, in its quick form."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))

    def load(name, **more):
        module = importlib.import_module(f"benchmarks.paper.{name}")
        options = {"quick": True, "fresh": False, "plot": False, "cifar10": None, **more}
        monkeypatch.setattr(module, "arguments", lambda *_, **__: Namespace(**options), False)
        if hasattr(module, "SETTINGS"):
            monkeypatch.setattr(module, "SETTINGS", dict(module.SETTINGS))
        return module

    return load
