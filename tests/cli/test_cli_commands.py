"""``python -m pathcond_native``: help, info and demo, each in a process of its own."""

import argparse
import importlib.util
import json
import subprocess
import sys

import pytest

import pathcond_native

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)

WITHOUT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from pathcond_native.__main__ import main
sys.exit(main({arguments!r}))
"""


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def pathcond(*arguments):
    return python("-m", "pathcond_native", *arguments)


def without(blocked, *arguments):
    return python("-c", WITHOUT.format(blocked=blocked, arguments=list(arguments)))


def test_no_command_prints_help_that_names_both():
    done = pathcond()
    assert done.returncode == 0
    assert done.stdout == pathcond("--help").stdout
    for word in ("info", "demo", "rescale_(model", "solve(B, g)"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["info", "demo"])
def test_every_command_explains_itself(command):
    done = pathcond(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert len(done.stdout.splitlines()) > 6


def test_an_unknown_command_is_a_usage_error():
    done = pathcond("inform")
    assert done.returncode == 2
    assert "invalid choice: 'inform'" in done.stderr


def test_info_says_what_is_installed():
    done = pathcond("info")
    assert done.returncode == 0
    assert done.stderr == ""
    for line in ("pathcond_native", "compiler", "SIMD level", "CUDA", "threads", "torch"):
        assert any(x.startswith(line) for x in done.stdout.splitlines()), line
    facts = json.loads(pathcond("info", "--json").stdout)
    assert facts["version"] == pathcond_native.__version__
    assert facts["threads"] >= 1
    assert facts["build"]["cuda"] in (False, True)
    assert facts["packages"]["numpy"] is not None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (("not built", ""), "not built in"),
        (("no driver", ""), "built in, but no driver"),
        (("driver too old", "it has 11.0"), "built in, but driver too old: it has 11.0"),
        (("no device", ""), "built in, but no device"),
        (("device too old", "T4 has 7.5"), "built in, but device too old: T4 has 7.5"),
        (("ready", "NVIDIA H100"), "NVIDIA H100"),
    ],
)
def test_info_says_what_is_between_it_and_a_device(status, words, capsys, monkeypatch):
    from pathcond_native.cli import info

    monkeypatch.setattr(info._core, "cuda_status", lambda: status)
    assert info.run(argparse.Namespace(json=False)) == 0
    assert f"CUDA             {words}" in capsys.readouterr().out.splitlines()


def test_info_imports_no_optional_package():
    done = python(
        "-c",
        "import sys; from pathcond_native.__main__ import main; main(['info']);"
        "sys.exit('torch' in sys.modules or 'scipy' in sys.modules)",
    )
    assert done.returncode == 0, done.stderr


def test_info_works_without_optional_packages():
    done = without(["torch", "scipy"], "info", "--json")
    assert done.returncode == 0, done.stderr
    packages = json.loads(done.stdout)["packages"]
    assert packages["torch"] is packages["scipy"] is None
    assert "torch            not found" in without(["torch"], "info").stdout


@pytest.mark.parametrize("blocked", ["torch", "scipy"])
def test_demo_without_a_package_names_the_remedy(blocked):
    done = without([blocked], "demo")
    assert done.returncode == 4
    assert done.stdout == ""
    assert blocked in done.stderr
    assert "pip install 'pathcond-native[torch]'" in done.stderr
    assert "Traceback" not in done.stderr


@needs_torch
def test_demo_rescales_both_networks():
    done = pathcond("demo", "--json")
    assert done.returncode == 0, done.stderr
    demo = json.loads(done.stdout)
    assert demo["version"] == pathcond_native.__version__
    assert [x["name"] for x in demo["networks"]] == ["CIFAR-NV", "autoencoder"]
    assert [x["neurons"] for x in demo["networks"]] == [1792, 3530]
    for network in demo["networks"]:
        start, ten, optimum = (network[x] for x in ("start", "ten_sweeps", "optimum"))
        assert network["output_change"] <= 1e-5
        assert optimum["gradient"] <= 1e-12
        assert optimum["sweeps"] <= 8
        assert optimum["status"] == "converged"
        assert ten["sweeps"] == 10
        assert optimum["objective"] < ten["objective"] < start["objective"]
        assert network["merged_rows"] < network["rows"] <= network["parameters"]
        assert all(value >= 0 for value in network["milliseconds"].values())


@needs_torch
def test_the_table_of_the_demo_fits_a_terminal(capsys, monkeypatch):
    from pathcond_native.cli import demo, networks

    small = networks.Network("small", (5,), lambda: networks.dense(5, 16, 8, 3))
    monkeypatch.setattr(demo, "CIFAR_NV", small)
    monkeypatch.setattr(demo, "AUTOENCODER", small)
    assert demo.run(argparse.Namespace(json=False)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for label in ("rows after merging", "F/p at the optimum", "sweeps", "largest change"):
        assert any(label in line for line in lines), label


@needs_torch
def test_networks_are_reproducible_and_leave_the_random_state_alone():
    import torch

    from pathcond_native.cli.networks import AUTOENCODER

    state = torch.get_rng_state()
    first, second, other = (AUTOENCODER.build(seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(AUTOENCODER.inputs(2), AUTOENCODER.inputs(2))
    assert torch.equal(state, torch.get_rng_state())
