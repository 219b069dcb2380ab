"""The command line in this process."""

import json

import pytest


@pytest.fixture
def pathcond(capsys):
    """Runs a command: exit code, what it printed, what it complained of."""
    from pathcond_native.__main__ import main

    def run(*arguments):
        try:
            code = main([str(x) for x in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def rescale(pathcond):
    """Runs `rescale`, which must succeed; returns what it says in JSON."""

    def run(*arguments):
        code, out, err = pathcond("rescale", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return run
