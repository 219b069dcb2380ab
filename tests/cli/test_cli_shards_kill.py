"""Shards that are written by a process that is killed, interrupted, or not alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from sharded import contents, write_shards  # noqa: E402
from small_nets import INPUT, net  # noqa: E402

from pathcond_native.files import streamed  # noqa: E402
from pathcond_native.files.partial import Partial  # noqa: E402

# The real command, killed with one shard in place and half of the next.
KILLED = """
import os, signal, sys
from pathcond_native.__main__ import main
from pathcond_native.files import streamed

written = []

def rewrite(layout, scales, exact, lost, stream):
    complete(layout, scales, exact, lost, stream)
    written.append(layout)
    if len(written) == 2:
        stream.flush()
        os.truncate(stream.name, stream.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)

complete, streamed.rewrite = streamed.rewrite, rewrite
main(sys.argv[1:])
"""


def command(tmp_path, *more, inputs=INPUT):
    where = ("--checkpoint", tmp_path / "in", "-o", tmp_path / "out")
    return "rescale", "small_nets:net", *where, "--input", inputs, *more


@pytest.fixture
def done(tmp_path, pathcond):
    """What an undisturbed run writes."""
    write_shards(tmp_path / "in", net().state_dict())
    assert pathcond(*command(tmp_path))[0] == 0
    result = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "expected")
    return result


@pytest.fixture
def written(monkeypatch):
    """Names of the shards that are written from now on."""
    names, rewrite = [], streamed.rewrite

    def spy(layout, *arguments):
        names.append(layout.path.name)
        rewrite(layout, *arguments)

    monkeypatch.setattr(streamed, "rewrite", spy)
    return names


def test_after_a_kill_the_same_command_goes_on(tmp_path, pathcond, done, written, monkeypatch):
    before = contents(tmp_path / "in")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, command(tmp_path))],
        cwd=Path(__file__).parent,
        check=False,
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert contents(tmp_path / "in") == before and not (tmp_path / "out").exists()
    begun = tmp_path / ".out.partial" / "files"
    first = "model-00001-of-00003.safetensors"
    assert (begun / first).read_bytes() == done[first]
    assert len(list(begun.iterdir())) == 2  # and half a shard

    def never(*_):
        raise AssertionError("the scales are known")

    monkeypatch.setattr(streamed, "find_scales", never)
    code, out, err = pathcond(*command(tmp_path), "--json")
    assert code == 0, err
    assert written == ["model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"]
    assert contents(tmp_path / "out") == done
    assert sorted(x.name for x in tmp_path.iterdir()) == ["expected", "in", "out"]
    facts = json.loads(out)
    assert facts["verification"]["max_relative_error"] <= 1e-5
    assert facts["neurons"] == 24 and facts["status"] == "converged" and facts["layers"]


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("holder", "name", "left"),
    [
        (streamed, "find_scales", 3),
        (streamed, "write_found", 3),
        (streamed, "changes", 0),
        (Partial, "publish", 0),
    ],
)
def test_it_goes_on_wherever_it_was(
    tmp_path, pathcond, done, written, monkeypatch, holder, name, left
):
    with monkeypatch.context() as patched:
        patched.setattr(holder, name, interrupt)
        assert pathcond(*command(tmp_path))[0] == 130
        assert not (tmp_path / "out").exists()
    written.clear()
    (tmp_path / ".out.partial" / "files" / "stray").touch()
    assert pathcond(*command(tmp_path))[0] == 0
    assert len(written) == left
    assert contents(tmp_path / "out") == done
    assert sorted(x.name for x in tmp_path.iterdir()) == ["expected", "in", "out"]


def test_killed_before_there_was_a_journal(tmp_path, pathcond, done):
    begun = tmp_path / ".out.partial"
    (begun / "files" / "folder").mkdir(parents=True)
    (begun / ".journal.1234.tmp.json").touch()
    assert pathcond(*command(tmp_path))[0] == 0
    assert contents(tmp_path / "out") == done and not begun.exists()


def test_killed_after_the_output_was_there(tmp_path, pathcond, done, monkeypatch):
    publish = Partial.publish
    with monkeypatch.context() as patched:
        patched.setattr(Partial, "publish", lambda self: (publish(self), interrupt()))
        assert pathcond(*command(tmp_path))[0] == 130
    assert contents(tmp_path / "out") == done
    code, _, err = pathcond(*command(tmp_path))
    assert code == 5 and "it exists already" in err


@pytest.mark.parametrize("changed", ["bytes", "times", "options", "inputs"])
def test_another_beginning_is_not_gone_on_with(tmp_path, pathcond, done, monkeypatch, changed):
    with monkeypatch.context() as patched:
        patched.setattr(streamed, "changes", interrupt)
        pathcond(*command(tmp_path))
    shard = tmp_path / "in" / "model-00002-of-00003.safetensors"
    state, content = shard.stat(), shard.read_bytes()
    more, inputs = (), INPUT
    if changed == "bytes":  # and the time set back
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif changed == "times":
        os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif changed == "options":
        more = ("--strength", "0.5")
    else:
        inputs = "4x3x8x8"
    begun = contents(tmp_path / ".out.partial" / "files")
    code, _, err = pathcond(*command(tmp_path, *more, inputs=inputs))
    assert code == 3 and "begun from something else" in err and "delete that folder" in err
    assert contents(tmp_path / ".out.partial" / "files") == begun
    if changed == "inputs":
        assert pathcond(*command(tmp_path))[0] == 0
        assert contents(tmp_path / "out") == done


def test_two_processes_do_not_write_the_same(tmp_path):
    with Partial(tmp_path / "out", True, {}):
        with pytest.raises(OSError, match="another process"), Partial(tmp_path / "out", True, {}):
            pass
        assert (tmp_path / ".out.partial" / "journal.json").exists()
    assert list(tmp_path.iterdir()) == []
