"""Damaged checkpoints in shards: refused in one line, with nothing left behind."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from safetensors.torch import save_file  # noqa: E402
from sharded import contents, write_shards  # noqa: E402
from small_nets import INPUT, net  # noqa: E402

from pathcond_native.errors import InvalidInputError, OutputError  # noqa: E402
from pathcond_native.files.layout import layout_of  # noqa: E402

FIRST, SECOND = (f"model-0000{k}-of-00003.safetensors" for k in (1, 2))


def refused(tmp_path, pathcond, words, code=3, checkpoint="in"):
    before = contents(tmp_path / "in")
    arguments = ("--checkpoint", tmp_path / checkpoint, "-o", tmp_path / "out", "--input", INPUT)
    found, out, err = pathcond("rescale", "small_nets:net", *arguments)
    assert (found, out, len(err.splitlines())) == (code, "", 1), err
    assert words in err
    assert contents(tmp_path / "in") == before
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


@pytest.fixture
def index(tmp_path):
    return write_shards(tmp_path / "in", net().state_dict())


def edit_header(path, change):
    """Change the header; the data is left as it is."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def edit_index(index, change):
    held = json.loads(index.read_text())
    change(held)
    index.write_text(json.dumps(held))


def test_a_missing_shard(tmp_path, index, pathcond):
    (tmp_path / "in" / SECOND).unlink()
    refused(tmp_path, pathcond, f"there is no shard {tmp_path / 'in' / SECOND}")


def test_a_truncated_shard(tmp_path, index, pathcond):
    path = tmp_path / "in" / SECOND
    path.write_bytes(path.read_bytes()[:-1])
    refused(tmp_path, pathcond, "does not fit into the file")


def test_a_tensor_that_its_shard_lacks(tmp_path, index, pathcond):
    edit_index(index, lambda held: held["weight_map"].update({"out.bias": FIRST}))
    refused(tmp_path, pathcond, f"'out.bias' is not in the shard {FIRST}, but in model-")


def test_a_tensor_that_no_shard_has(tmp_path, index, pathcond):
    edit_index(index, lambda held: held["weight_map"].update({"more": FIRST}))
    refused(tmp_path, pathcond, f"'more' is not in the shard {FIRST}\n")


def test_a_tensor_in_two_shards(tmp_path, index, pathcond):
    save_file({"out.bias": torch.zeros(4)}, tmp_path / "in" / "extra.safetensors")
    edit_index(index, lambda held: held["weight_map"].update({"more": "extra.safetensors"}))
    refused(tmp_path, pathcond, "'out.bias' is both in model-")


def test_a_tensor_that_the_index_leaves_out(tmp_path, index, pathcond):
    edit_index(index, lambda held: held["weight_map"].pop("out.bias"))
    refused(tmp_path, pathcond, "it lacks 1 of the model's tensors, 'out.bias' first")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no index of shards"),
        (b"[1]", "no index of shards"),
        (b"{}", "'weight_map'"),
        (b'{"weight_map": {}}', "no object with names"),
        (b'{"weight_map": {"a": 3}}', "no index of shards"),
        (b'{"weight_map": {"a": "../in/model-00001-of-00003.safetensors"}}', "no name of a file"),
        (b'{"weight_map": {"a": ".."}}', "there is no shard"),
        (b"[" * 100_000, "no index of shards"),
        (b"\xff", "no index of shards"),
    ],
)
def test_an_index_that_is_none(tmp_path, index, pathcond, content, words):
    index.write_bytes(content)
    refused(tmp_path, pathcond, words)


def test_folders_without_one_checkpoint(tmp_path, index, pathcond):
    refused(tmp_path, pathcond, "in/none: expected weights", checkpoint="in/none")
    shutil.copy(index, index.with_name("other.safetensors.index.json"))
    refused(tmp_path, pathcond, "name the one to take")
    for path in (tmp_path / "in").glob("*.index.json"):
        path.unlink()
    refused(tmp_path, pathcond, "name the one to take")
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    refused(tmp_path, pathcond, "holds neither")


def overlap(header):
    first, second = [name for name in header if name != "__metadata__"][:2]
    shape, (start, stop) = header[first]["shape"], header[first]["data_offsets"]
    header[second] |= {"shape": shape, "data_offsets": [start, stop]}
    header[second]["dtype"] = header[first]["dtype"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (overlap, "overlap"),
        (lambda h: h["out.bias"].update(data_offsets=[0, 1 << 40]), "does not fit"),
        (lambda h: h["out.bias"].update(data_offsets=[-16, 0]), "does not fit"),
        (lambda h: h["out.bias"].update(data_offsets=[16, 0]), "does not fit"),
        (lambda h: h["out.bias"].update(shape=[5]), "does not fit"),
        (lambda h: h["out.bias"].update(dtype="F99"), "it lacks 1 of the model's tensors"),
        (lambda h: h["out.bias"].update(dtype="BF16", shape=[8]), "size mismatch for out.bias"),
        (lambda h: h["out.bias"].update(dtype="F16", shape=[2, 4]), "size mismatch for out.bias"),
        (lambda h: h["out.bias"].update(dtype="I32"), "size mismatch for out.bias"),
    ],
)
def test_headers_that_lie(tmp_path, index, pathcond, change, words):
    file = json.loads(index.read_text())["weight_map"]["out.bias"]
    edit_header(tmp_path / "in" / file, change)
    refused(tmp_path, pathcond, words)


def test_names_that_are_twice_in_a_header(tmp_path):
    entry = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    text = b"{" + entry + b"," + entry + b"}"
    path = tmp_path / "twice.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"x")
    with pytest.raises(InvalidInputError, match="'a' is there twice"):
        layout_of(path)


def test_tensors_out_of_line(tmp_path, index, pathcond):
    """A header of an odd length, as no writer of today makes it."""
    path = tmp_path / "in" / FIRST
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    path.write_bytes((length + 1).to_bytes(8, "little") + header + b" " + data)
    refused(tmp_path, pathcond, "write the file anew")


def test_weights_that_are_not_finite(tmp_path, pathcond):
    write_shards(tmp_path / "in", {**net().state_dict(), "out.bias": torch.full((4,), torch.nan)})
    refused(tmp_path, pathcond, "'out.bias' holds NaN")


def test_a_model_of_other_names(tmp_path, pathcond):
    write_shards(tmp_path / "in", {"a": torch.ones(2), "b": torch.ones(3)}, 2)
    refused(tmp_path, pathcond, "no tensor has the name of one of the model's; there are a, b")


@pytest.mark.parametrize("where", ["scales", "shard"])
def test_a_full_disk_leaves_nothing(tmp_path, index, pathcond, monkeypatch, where):
    from pathcond_native.files import streamed

    holder, name = (streamed, "rewrite") if where == "shard" else (streamed.Scratch, "keep")
    complete = getattr(holder, name)

    def full(*arguments):
        complete(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(holder, name, full)
    refused(tmp_path, pathcond, "No space left on device", code=5)


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path, index, pathcond, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    refused(tmp_path, pathcond, "bytes, and there are 100", code=5)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    from pathcond_native.files.partial import Partial

    (tmp_path / ".out.partial").touch()
    with pytest.raises(OutputError, match="cannot be written"), Partial(tmp_path / "out", True, {}):
        pass
