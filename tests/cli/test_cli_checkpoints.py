"""`rescale` of factories with checkpoints: everything else in the file stays as it is."""

import json
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
from small_nets import INPUT, Tied, moved, net  # noqa: E402

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def outputs(state, build=net, x=X):
    model = build().eval()
    model.load_state_dict(state, strict=False)
    return model(x)


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(net().state_dict(), path)
    return path


def named(path, build="net", given=INPUT):
    return (f"small_nets:{build}", "--checkpoint", path, "--input", given)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict(tmp_path, rescale, zipped):
    path, out = tmp_path / "net.pt", tmp_path / "out.pth"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert rescale(*named(path), "-o", out)["neurons"] == 24
    old, new = (torch.load(x, weights_only=True) for x in (path, out))
    assert list(old) == list(new)
    assert old._metadata == new._metadata
    assert [x.dtype for x in old.values()] == [x.dtype for x in new.values()]
    assert moved(outputs(old), outputs(new)) <= 1e-5
    assert moved(old["hidden.weight"], new["hidden.weight"]) > 1e-2
    assert torch.equal(old["norm.running_mean"], new["norm.running_mean"])
    assert out.read_bytes()[:2] == path.read_bytes()[:2]  # the container


def test_a_module_that_is_a_model_already(state, rescale):
    assert rescale(*named(state, "ready"), "--in-place")["neurons"] == 24


def test_a_training_checkpoint_keeps_all_else(tmp_path, rescale):
    path = tmp_path / "run.ckpt"
    weights = OrderedDict(net().state_dict(), extra=torch.arange(3))
    held = {"epoch": 7, "state_dict": weights, "optimizer": {"state": {}}, "note": "hello"}
    torch.save(held, path)
    before = outputs(weights)
    facts = rescale(*named(path), "--in-place")
    assert "'optimizer'" in facts["notes"][0]
    again = torch.load(path, weights_only=True)
    assert {key: again[key] for key in ("epoch", "optimizer", "note")} == {
        key: held[key] for key in ("epoch", "optimizer", "note")
    }
    assert torch.equal(again["state_dict"]["extra"], torch.arange(3))
    assert moved(before, outputs(again["state_dict"])) <= 1e-5


def test_of_several_sets_of_weights_one_is_chosen(tmp_path, pathcond, rescale):
    path = tmp_path / "both.pt"
    torch.save({"model": net().state_dict(), "ema": net().state_dict()}, path)
    code, _, err = pathcond("rescale", *named(path), "--in-place")
    assert code == 3 and "--key" in err and "'model', 'ema'" in err
    rescale(*named(path), "--in-place", "--key", "ema")
    again = torch.load(path, weights_only=True)
    assert torch.equal(again["model"]["hidden.weight"], net().hidden.weight)
    assert not torch.equal(again["ema"]["hidden.weight"], net().hidden.weight)


def test_half_precision_stays_half(tmp_path, rescale):
    path, out = tmp_path / "half.pt", tmp_path / "out.pt"
    torch.save(net().bfloat16().state_dict(), path)
    facts = rescale(*named(path), "-o", out)
    assert facts["verification"]["max_relative_error"] <= 1e-1
    old, new = (torch.load(x, weights_only=True) for x in (path, out))
    assert new["hidden.weight"].dtype == torch.bfloat16
    assert not torch.equal(old["hidden.weight"], new["hidden.weight"])
    assert {n: x.dtype for n, x in old.items()} == {n: x.dtype for n, x in new.items()}


def test_ties_of_a_state_dict(tmp_path, rescale):
    tokens = torch.arange(10).reshape(2, 5)
    path, out = tmp_path / "tied.pt", tmp_path / "out.pt"
    torch.save(Tied().state_dict(), path)
    rescale(*named(path, "Tied", "2x5:int64"), "-o", out)
    old, new = (torch.load(x, weights_only=True) for x in (path, out))
    assert new["embed.weight"].data_ptr() == new["out.weight"].data_ptr()
    assert moved(old["embed.weight"], new["embed.weight"]) > 1e-2
    assert moved(outputs(old, Tied, tokens), outputs(new, Tied, tokens)) <= 1e-5


def test_memory_that_only_the_file_shares_is_refused(tmp_path, pathcond):
    path = tmp_path / "shared.pt"
    state = net().state_dict()
    state["conv.bias"] = state["norm.weight"]  # of which one is scaled
    torch.save(state, path)
    before = path.read_bytes()
    code, _, err = pathcond("rescale", *named(path), "--in-place")
    assert code == 3 and "shares memory" in err
    assert path.read_bytes() == before


def test_safetensors_to_the_byte(tmp_path, rescale):
    safetensors = pytest.importorskip("safetensors.torch")
    path, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    state = {name: x.contiguous() for name, x in net().state_dict().items()}
    metadata = {"format": "pt", "licence": "ours", "ünï": "cödé"}
    eight = torch.randn(5).to(torch.float8_e4m3fn)
    safetensors.save_file({**state, "unknown": eight}, path, metadata=metadata)
    rescale(*named(path), "-o", out)
    length = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert out.read_bytes()[:length] == path.read_bytes()[:length]  # order, dtypes, metadata
    assert out.stat().st_size == path.stat().st_size
    with safetensors.safe_open(out, "pt") as opened:
        assert opened.metadata() == metadata
    old, new = safetensors.load_file(path), safetensors.load_file(out)
    assert torch.equal(new["unknown"].view(torch.uint8), eight.view(torch.uint8))
    assert moved(outputs(old), outputs(new)) <= 1e-5
    assert moved(old["hidden.weight"], new["hidden.weight"]) > 1e-2


def test_safetensors_that_hold_a_tied_tensor_once(tmp_path, rescale):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "tied.safetensors"
    model = Tied()
    safetensors.save_model(model, path)  # leaves one of the names out
    before = safetensors.load_file(path)
    assert len(before) == len(model.state_dict()) - 1
    facts = rescale(*named(path, "Tied", "2x5:int64"), "--in-place")
    assert facts["neurons"] == 24
    after, again = safetensors.load_file(path), Tied()
    assert after.keys() == before.keys()
    safetensors.load_model(again, path)
    tokens = torch.arange(10).reshape(2, 5)
    assert moved(model(tokens), again(tokens)) <= 1e-5


def header(fields, data=b""):
    text = json.dumps(fields).encode() if not isinstance(fields, bytes) else fields
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header(b"{not json"),
        header([1, 2]),
        header(b"[" * 100_000),
        header({"out.bias": 3}),
        header({"out.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(12)),
        header({"out.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}, bytes(16)),
        header({"out.bias": {"dtype": "F32", "shape": [-4], "data_offsets": [0, -16]}}, bytes(16)),
        header({"out.bias": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}, bytes(16)),
        header({"out.bias": {"dtype": "F32", "shape": ["4"], "data_offsets": [0, 16]}}, bytes(16)),
        header({"out.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0]}}, bytes(16)),
    ],
)
def test_damaged_safetensors_are_refused_in_one_line(tmp_path, pathcond, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    code, _, err = pathcond("rescale", *named(path), "--in-place")
    assert code == 3, err
    assert "no safetensors file" in err and len(err.splitlines()) == 1
    assert path.read_bytes() == content


def test_a_pickle_that_would_run_code_is_not_run(tmp_path, pathcond):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"conv.weight": Evil()}, path)
    code, _, err = pathcond("rescale", *named(path), "--in-place")
    assert code == 3 and "weights_only" in err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {"other": s["out.bias"]}, "no tensor has the name"),
        (lambda s: {n: x for n, x in s.items() if n != "out.bias"}, "'out.bias' first"),
        (lambda s: {**s, "out.bias": torch.zeros(5)}, "size mismatch"),
        (lambda s: list(s.values()), "expected a state dict, got list"),
        (lambda s: {**s, "out.bias": torch.full((4,), float("nan"))}, "holds NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, pathcond, change, words):
    path = tmp_path / "odd.pt"
    torch.save(change(net().state_dict()), path)
    code, out, err = pathcond("rescale", *named(path), "--in-place")
    assert (code, out) == (3, "")
    assert words in err and len(err.splitlines()) == 1
