"""The command line itself: usage, errors, notes, progress, `stats` and `bench`."""

import fcntl
import importlib
import io
import json
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from small_nets import INPUT, net  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(net().state_dict(), path)
    return path


FACTORY = ("small_nets:net", "--input", INPUT)


def test_the_input_is_overwritten_only_if_that_is_said(weights, pathcond):
    before = weights.read_bytes()
    link = weights.with_name("link.pt")
    link.symlink_to(weights)
    for output in (weights, link):
        arguments = (*FACTORY, "--checkpoint", weights, "-o", output)
        code, out, err = pathcond("rescale", *arguments)
        assert (code, out) == (2, "") and "--in-place" in err
    assert weights.read_bytes() == before
    assert pathcond("rescale", *FACTORY, "--checkpoint", weights, "--in-place")[0] == 0
    assert weights.read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("net.onnx", "-o", "out.onnx"), 3, "there is no such file"),
        (("net.h5", "-o", "out.h5"), 3, "an exported program (.pt2)"),
        (("nets", "--checkpoint", "{weights}", "-o", "out.pt"), 3, "or package.module:factory"),
        (("none.pt2", "-o", "out.pt2"), 3, "none.pt2: there is no such file"),
        (("{weights}", "-o", "out.pt"), 3, "name what builds it"),
        ((*FACTORY, "-o", "out.pt"), 2, "needs a --checkpoint"),
        ((*FACTORY, "--checkpoint", "{weights}"), 2, "one of the arguments -o/--output --in-place"),
        ((*FACTORY, "--checkpoint", "{weights}", "-o", "out.pt2"), 2, "expected a name in .pt"),
        ((*FACTORY, "--checkpoint", "x.h5", "-o", "out.h5"), 3, "expected weights (.safetensors"),
        ((*FACTORY, "--checkpoint", "{weights}", "-o", "no/out.pt"), 5, "no/out.pt: cannot be"),
        (("small_nets:net", "--checkpoint", "{weights}", "-o", "out.pt"), 3, "Give --input"),
        (("small_nets:none", "--input", "1x1", "-o", "out.pt"), 3, "has no attribute 'none'"),
        (("no_such_module:f", "--input", "1x1", "-o", "out.pt"), 3, "No module named"),
        (("small_nets:broken", "--input", "1x1", "-o", "out.pt"), 3, "no such luck"),
        (("small_nets:number", "--input", "1x1", "-o", "out.pt"), 3, "not callable"),
        (("small_nets:OrderedDict", "--input", "1x1", "-o", "out.pt"), 3, "got OrderedDict"),
    ],
)
def test_errors_are_one_line_with_their_code(
    weights, pathcond, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    found, out, err = pathcond("rescale", *(str(x).format(weights=weights) for x in arguments))
    assert (found, out) == (code, "")
    last = err.splitlines()[-1]
    assert words in last and last.startswith("pathcond")
    assert code == 2 or len(err.splitlines()) == 1
    assert sorted(x.name for x in tmp_path.iterdir()) == ["net.pt"]


@pytest.mark.parametrize("given", ["", "1x", "0x3", "3:float", "1x-2", "99999x99999", "3:int64:2"])
def test_inputs_that_cannot_be(pathcond, given):
    code, _, err = pathcond("stats", "small_nets:net", f"--input={given}")
    assert code == 3 and "--input" in err and len(err.splitlines()) == 1


def test_inputs_that_the_model_does_not_take(pathcond):
    code, _, err = pathcond("stats", "small_nets:net", "--input", "2x5x8x8")
    assert code == 3 and "torch.export" in err and len(err.splitlines()) == 1


def test_example_inputs_are_what_was_said():
    from pathcond_native.files.example import example_inputs

    half, tokens, mask = example_inputs(("2x3", "4:int64", "5:bool"), net().bfloat16())
    assert (half.shape, half.dtype) == ((2, 3), torch.bfloat16)
    assert tokens.dtype == torch.int64 and set(tokens.tolist()) <= {0, 1}
    assert mask.dtype == torch.bool
    again = example_inputs(("2x3",), net().bfloat16())[0]
    assert torch.equal(half, again)


def test_ctrl_c_is_told_apart(pathcond, monkeypatch):
    from pathcond_native.cli import info

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupted)
    assert pathcond("info") == (130, "", "pathcond: interrupted\n")


def test_version(pathcond):
    from pathcond_native import __version__

    assert pathcond("--version") == (0, f"pathcond {__version__}\n", "")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--tol", "-1"), ("--tol", "nan"), ("--tol", "small"), ("--max-sweeps", "-1"),
        ("--max-sweeps", "1.5"), ("--max-scale", "0.5"), ("--threads", "0"),
        ("--threads", "all"), ("--strength", "nan"), ("--strength", "inf"), ("--method", "sgd"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_a_wrong_command_line(pathcond, option, value):
    code, out, err = pathcond("rescale", *FACTORY, "--in-place", f"{option}={value}")
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert last.startswith(f"pathcond rescale: error: argument {option}: ") and value in last


def test_an_output_is_tried_before_the_work(weights, pathcond, monkeypatch):
    from pathcond_native.files.state_dict import StateDict

    arguments = (*FACTORY, "--checkpoint", weights, "--report", "nowhere/report.html")
    before = weights.read_bytes()
    monkeypatch.setattr(StateDict, "write", lambda *_: pytest.fail("it was written"))
    code, _, err = pathcond("rescale", *arguments, "--in-place")
    assert code == 5 and err == (
        "pathcond: nowhere/report.html: cannot be written (No such file or directory)\n"
    )
    assert weights.read_bytes() == before
    assert list(weights.parent.iterdir()) == [weights]


def test_a_pickled_model_is_refused_in_few_words(tmp_path, pathcond):
    whole, junk = tmp_path / "whole.pt", tmp_path / "junk.pt"
    torch.save(net(), whole)
    junk.write_bytes(b"hello world")
    for path, words in (
        (whole, "save model.state_dict() instead"),
        (junk, "no file of torch.save"),
    ):
        code, out, err = pathcond("rescale", *FACTORY, "--checkpoint", path, "--in-place")
        assert (code, out) == (3, "") and words in err
        assert len(err) < 300 and "\x1b" not in err


def test_traceback_on_request(pathcond):
    arguments = ("stats", "small_nets:broken", "--input", "1x1", "--traceback")
    assert "RuntimeError: no such\nluck" in pathcond(*arguments)[2]


def test_a_report_is_a_page_beside_the_model(weights, pathcond, tmp_path):
    out, report = tmp_path / "out.pt", tmp_path / "report.html"
    arguments = (*FACTORY, "--checkpoint", weights, "-o", out, "--criterion", "enorm")
    code, text, err = pathcond("rescale", *arguments, "--report", report)
    assert (code, err) == (0, "") and "by enorm" in text
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "small_nets:net" in page
    assert page.count("<svg") == 1 and "log10 diag(G)" in page
    out.unlink()
    code, _, err = pathcond("rescale", *arguments, "--report", tmp_path / "report.pt")
    assert code == 2 and ".html" in err and not out.exists()


def test_a_report_without_matplotlib_is_told_before_any_work(weights, pathcond, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    before = weights.read_bytes()
    arguments = (*FACTORY, "--checkpoint", weights, "--in-place", "--report", "report.html")
    code, _, err = pathcond("rescale", *arguments)
    assert code == 4 and "pathcond-native[plot]" in err
    assert weights.read_bytes() == before


def test_a_verification_that_fails_writes_nothing(weights, pathcond, monkeypatch):
    from pathcond_native.model import apply

    def wrong(model, *arguments, **options):
        lost = apply.rescale_parameters(model, *arguments, **options)
        with torch.no_grad():
            for x in map(model.get_parameter, lost):
                x.mul_(1.01)
        return lost

    module = importlib.import_module("pathcond_native.model.rescale")
    monkeypatch.setattr(module, "rescale_parameters", wrong)
    before = weights.read_bytes()
    code, out, err = pathcond("rescale", *FACTORY, "--checkpoint", weights, "--in-place")
    assert (code, out) == (1, "")
    assert "rescaling changed output" in err and len(err.splitlines()) == 1
    assert weights.read_bytes() == before


def test_a_file_that_does_not_read_back_is_not_put_in_place(weights, pathcond, monkeypatch):
    from pathcond_native.files.state_dict import StateDict

    monkeypatch.setattr(
        StateDict, "write", lambda self, stream: torch.save(net().state_dict(), stream)
    )
    before = weights.read_bytes()
    code, _, err = pathcond("rescale", *FACTORY, "--checkpoint", weights, "--in-place")
    assert code == 1 and "does not read back" in err
    assert weights.read_bytes() == before
    assert list(weights.parent.iterdir()) == [weights]


def test_nothing_to_rescale_is_no_failure(tmp_path, pathcond):
    path, out = tmp_path / "linear.pt", tmp_path / "out.pt"
    torch.save(torch.nn.Linear(3, 2).state_dict(), path)
    name = "small_nets:linear"
    code, text, _ = pathcond("rescale", name, "--checkpoint", path, "--input", "1x3", "-o", out)
    assert code == 0 and "nothing to rescale" in text
    old, new = (torch.load(x, weights_only=True) for x in (path, out))
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_stats_are_those_of_stats(pathcond):
    from pathcond_native import stats

    expected = stats(net(), torch.zeros(2, 3, 8, 8))
    code, out, _ = pathcond("stats", *FACTORY)
    assert (code, out) == (0, f"{expected}\n")
    facts = json.loads(pathcond("stats", *FACTORY, "--json")[1])
    assert facts["neurons"] == expected.neurons == 24
    assert facts["paths"] == expected.paths
    assert facts["pinned"][0].keys() == {"where", "channels", "reason"}


def test_json_has_no_nan(pathcond):
    arguments = ("stats", "small_nets:linear", "--input", "1x3", "--json")
    assert "NaN" not in pathcond(*arguments)[1]


def test_bench_of_a_small_network(pathcond, monkeypatch):
    from pathcond_native.cli import bench, networks

    small = networks.Network("small", (5,), lambda: networks.dense(5, 16, 8, 3))
    monkeypatch.setattr(bench, "NETWORKS", (small,))
    code, out, _ = pathcond("bench", "--rounds", "2", "--json")
    [network] = json.loads(out)["networks"]
    assert code == 0 and network["parameters"] == 5 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3
    assert all(seconds > 0 for seconds in network["seconds"].values())
    code, out, _ = pathcond("bench", "--rounds", "1")
    assert code == 0 and max(map(len, out.splitlines())) <= 100
    assert pathcond("bench", "--rounds", "0")[0] == 2


SLOW = """
import time
from pathcond_native.cli.progress import Progress

with Progress(2) as progress:
    with progress.stage("thinking hard"):
        time.sleep({seconds})
"""


@pytest.mark.parametrize(("seconds", "shown"), [(1.6, True), (0.1, False)])
def test_a_bar_on_a_terminal_for_what_takes_over_a_second(seconds, shown):
    pytest.importorskip("tqdm")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = SLOW.format(seconds=seconds)
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 4096):
            text += piece
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    assert (b"thinking hard" in text) is shown


def test_no_bar_where_no_terminal_is():
    done = subprocess.run(
        [sys.executable, "-c", SLOW.format(seconds=1.3)], capture_output=True, check=True
    )
    assert done.stderr == b""


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m pathcond_native info | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=HERE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("{} >&- 2>&-", 0, b""),
        ("{} 2>&-", 0, b"converged"),
        ("{} > /dev/full", 5, b"standard output: cannot be written"),
        ("PYTHONUNBUFFERED=1 {} > /dev/full", 5, b"standard output: cannot be written"),
    ],
)
def test_streams_that_are_closed_or_full(how, code, words, tmp_path):
    numpy, sparse = (importlib.import_module(name) for name in ("numpy", "scipy.sparse"))
    sparse.save_npz(tmp_path / "B.npz", sparse.csc_array([[1.0], [-1.0]]))
    numpy.save(tmp_path / "g.npy", [1.0, 2.0])
    command = how.format(f"{sys.executable} -m pathcond_native solve B.npz g.npy")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, cwd=tmp_path, timeout=120, env=environment
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_letters_that_a_terminal_lacks(weights, monkeypatch):
    from pathcond_native.__main__ import main

    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    command = ["rescale", *FACTORY, "--checkpoint", str(weights), "--in-place"]
    assert main(command) == 0
    assert rb"factors \u03bb" in held.getvalue()
