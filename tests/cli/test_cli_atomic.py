"""Files are replaced whole or not at all, also by a process that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pathcond_native.errors import OutputError
from pathcond_native.files.atomic import write_atomically

OLD, NEW = b"old" * 50_000, b"new!" * 70_000

# Runs in a process of its own, which kills itself at the named call.
KILLED = """
import os, pathlib, signal, sys
from pathcond_native.files.atomic import write_atomically

place, path = sys.argv[1], pathlib.Path(sys.argv[2])
old, new = b"old" * 50_000, b"new!" * 70_000

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def write(stream):
    stream.write(new[:100_000])
    stream.flush()
    if place == "writing":
        die()
    stream.write(new[100_000:])

replace = pathlib.Path.replace
if place == "fsync":
    os.fsync = die
if place == "replace":
    pathlib.Path.replace = die
if place == "replaced":
    pathlib.Path.replace = lambda *x: (replace(*x), die())
write_atomically(path, write, check=die if place == "check" else None)
"""


@pytest.mark.parametrize("place", ["writing", "fsync", "check", "replace", "replaced"])
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path, place):
    path = tmp_path / "model.bin"
    path.write_bytes(OLD)
    done = subprocess.run([sys.executable, "-c", KILLED, place, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == (NEW if place == "replaced" else OLD)
    write_atomically(path, lambda stream: stream.write(NEW))  # what was left is in nobody's way
    assert path.read_bytes() == NEW


# The real command, killed with the new file half written, and complete but not yet in place.
COMMAND = """
import os, pathlib, signal, sys
import torch
from pathcond_native.__main__ import main

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def half(self, stream):
    stream.write(b"half a file")
    stream.flush()
    die()

if sys.argv[1] == "writing":
    from pathcond_native.files.state_dict import StateDict
    StateDict.write = half
else:
    pathlib.Path.replace = die
main(sys.argv[2:])
"""


@pytest.mark.parametrize("place", ["writing", "replace"])
def test_a_killed_rescale_leaves_the_checkpoint_as_it_was(tmp_path, place):
    torch = pytest.importorskip("torch")
    from small_nets import INPUT, net

    path = tmp_path / "net.pt"
    torch.save(net().state_dict(), path)
    old = path.read_bytes()
    arguments = ("rescale", "small_nets:net", "--checkpoint", path, "--input", INPUT, "--in-place")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, place, *map(str, arguments)],
        cwd=Path(__file__).parent,
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2  # the other one shows that it was being written


def failing(stream):
    stream.write(b"half")
    raise ValueError("on purpose")


@pytest.mark.parametrize("where", ["write", "check"])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, where):
    path = tmp_path / "model.bin"
    path.write_bytes(OLD)
    with pytest.raises(ValueError, match="on purpose"):
        if where == "write":
            write_atomically(path, failing)
        else:
            write_atomically(path, lambda stream: stream.write(NEW), check=failing_check)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def failing_check(written):
    assert written.read_bytes() == NEW
    raise ValueError("on purpose")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_keeps_its_mode_and_a_new_one_takes_that_of_the_input(tmp_path, mode):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(OLD)
    source.chmod(mode)
    umask = os.umask(0o022)
    try:
        write_atomically(target, lambda stream: stream.write(NEW), like=source)
        assert target.stat().st_mode & 0o7777 == mode & ~0o022
        target.chmod(0o666)
        write_atomically(target, lambda stream: stream.write(OLD), like=source)
        assert target.stat().st_mode & 0o7777 == 0o666
    finally:
        os.umask(umask)


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    write_atomically(link, lambda stream: stream.write(NEW))
    assert link.is_symlink() and target.read_bytes() == NEW


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", lambda stream: stream.write(NEW))


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(OLD)

    def full(stream):
        stream.write(NEW)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, full)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(OLD)
    path.chmod(0o444)
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(path, lambda stream: stream.write(NEW))
    assert path.read_bytes() == OLD
