"""`rescale` of checkpoints in shards, and of single files as if the memory did not hold them."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from safetensors.torch import load_file, safe_open, save_file  # noqa: E402
from sharded import INDEX, contents, loaded, write_shards  # noqa: E402
from small_nets import INPUT, Tied, moved, net  # noqa: E402
from torch import nn  # noqa: E402

from pathcond_native.files.bare import parameters_on_meta  # noqa: E402
from pathcond_native.files.mapped import Mapped, Scratch  # noqa: E402

TOKENS = "2x5:int64"


def named(checkpoint, output, *more, build="net", given=INPUT):
    where = ("--checkpoint", checkpoint, "-o", output)
    return (f"small_nets:{build}", *where, "--input", given, *more)


def in_memory(tmp_path, rescale, state, *more, **which):
    """What the path in memory makes of the same tensors."""
    path = tmp_path / "whole.safetensors"
    save_file({name: x.contiguous() for name, x in state.items()}, path)
    facts = rescale(*named(path, path.with_stem("whole-out"), *more, **which))
    return facts, load_file(path.with_stem("whole-out"))


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--round-to", "power_of_two"),
        ("--criterion", "enorm", "--strength", "0.5"),
        ("--max-scale", "1.5", "--no-verify"),
    ],
)
def test_the_same_bytes_as_in_memory(tmp_path, rescale, more):
    state = net().state_dict()
    expected, whole = in_memory(tmp_path, rescale, state, *more)
    index = write_shards(tmp_path / "in", state)
    found = rescale(*named(index, tmp_path / "out", *more))
    new = loaded(tmp_path / "out")
    assert new.keys() == whole.keys()
    assert all(torch.equal(new[name], whole[name]) for name in whole)
    for same in ("neurons", "objective", "initial_objective", "layers", "pinned", "sweeps"):
        assert found[same] == expected[same]
    if "--no-verify" not in more:
        assert found["verification"] == expected["verification"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_all_dtypes_stay_and_round_alike(tmp_path, rescale, dtype):
    state = {n: x.to(dtype) if x.is_floating_point() else x for n, x in net().state_dict().items()}
    _, whole = in_memory(tmp_path, rescale, state)
    rescale(*named(write_shards(tmp_path / "in", state, 2), tmp_path / "out"))
    new = loaded(tmp_path / "out")
    assert {n: x.dtype for n, x in new.items()} == {n: x.dtype for n, x in state.items()}
    assert all(torch.equal(new[name], whole[name]) for name in whole)
    assert not torch.equal(new["hidden.weight"], state["hidden.weight"])


def test_everything_else_is_kept_to_the_byte(tmp_path, pathcond):
    eight = torch.randn(5).to(torch.float8_e4m3fn)
    state = {**net().state_dict(), "unknown": eight, "empty": torch.zeros(0, 3)}
    index = write_shards(tmp_path / "in", state, note="ünï")
    before = contents(tmp_path / "in")
    code, out, err = pathcond("rescale", *named(tmp_path / "in", tmp_path / "out"))
    assert code == 0 and "rescaled 24 neurons" in out
    assert "2 tensors are none of the model's" in err
    after = contents(tmp_path / "out")
    assert contents(tmp_path / "in") == before and index.is_file()
    assert after.keys() == before.keys() and after[INDEX] == before[INDEX]
    for name, content in before.items():
        if name != INDEX:
            header = 8 + int.from_bytes(content[:8], "little")
            assert after[name][:header] == content[:header]
            assert len(after[name]) == len(content)
    new = loaded(tmp_path / "out")
    assert torch.equal(new["unknown"].view(torch.uint8), eight.view(torch.uint8))
    assert torch.equal(new["norm.running_var"], state["norm.running_var"])
    assert sorted(x.name for x in tmp_path.iterdir()) == ["in", "out"]


def test_a_single_file(tmp_path, rescale):
    path, out, whole = (tmp_path / f"{name}.safetensors" for name in ("net", "out", "whole"))
    save_file({n: x.contiguous() for n, x in net().state_dict().items()}, path, {"a": "b"})
    out.write_bytes(b"old")
    rescale(*named(path, out, "--stream"))
    rescale(*named(path, whole))
    assert out.read_bytes() == whole.read_bytes()
    with safe_open(out, "pt") as opened:
        assert opened.metadata() == {"a": "b"}
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "model.safetensors")
    rescale(*named(folder, tmp_path / "new"))
    assert contents(tmp_path / "new") == {"model.safetensors": out.read_bytes()}


@pytest.mark.parametrize("once", [True, False])
def test_tied_weights(tmp_path, rescale, once):
    model, tokens = Tied(), torch.arange(10).reshape(2, 5)
    state = dict(model.state_dict())
    if once:
        del state["embed.weight"]
    rescale(
        *named(write_shards(tmp_path / "in", state), tmp_path / "out", build="Tied", given=TOKENS)
    )
    new, again = loaded(tmp_path / "out"), Tied()
    assert new.keys() == state.keys()
    if not once:
        assert torch.equal(new["embed.weight"], new["out.weight"])
    again.load_state_dict(new, strict=False)
    assert moved(model(tokens), again(tokens)) <= 1e-5
    assert moved(model.out.weight, again.out.weight) > 1e-2


def test_weights_that_are_tied_but_differ_are_refused(tmp_path, pathcond):
    state = {n: x.clone() for n, x in Tied().state_dict().items()}
    state["out.weight"][0, 0] += 1
    index = write_shards(tmp_path / "in", state)
    arguments = named(index, tmp_path / "out", build="Tied", given=TOKENS)
    code, _, err = pathcond("rescale", *arguments)
    assert code == 3 and "'embed.weight' and 'out.weight' are one parameter" in err
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


def test_buffers_that_no_checkpoint_holds_are_the_model_s(tmp_path, rescale):
    from small_nets import Masked

    state = {**Masked().state_dict(), "mask": torch.zeros(6)}  # and is not taken from one
    assert len(Masked().state_dict()) == 4
    index = write_shards(tmp_path / "in", state, 2)
    facts = rescale(*named(index, tmp_path / "out", build="Masked", given="2x3"))
    assert facts["neurons"] == 6 and len(facts["notes"]) == 1
    new, x = loaded(tmp_path / "out"), torch.ones(2, 3)
    again = Masked()
    again.load_state_dict({n: y for n, y in new.items() if n != "mask"})
    assert moved(Masked()(x), again(x)) <= 1e-5 and not new["mask"].any()


def test_nothing_to_rescale_is_a_copy(tmp_path, rescale):
    index = write_shards(tmp_path / "in", nn.Linear(3, 2).state_dict(), 2)
    facts = rescale(*named(index, tmp_path / "out", build="linear", given="1x3"))
    assert facts["nothing_because"] == "it has no rescalable neuron"
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_what_needs_all_weights_at_once_is_refused_if_there_are_many(
    tmp_path, pathcond, monkeypatch
):
    from pathcond_native.model import criteria

    index = write_shards(tmp_path / "in", net().state_dict())
    arguments = named(index, tmp_path / "out", "--criterion", "cle")
    assert pathcond("rescale", *arguments)[0] == 0
    monkeypatch.setattr(criteria, "_FEW", 100)
    arguments = named(index, tmp_path / "new", "--criterion", "cle")
    code, out, err = pathcond("rescale", *arguments)
    assert (code, out) == (3, "") and "needs all weights of this model at once" in err
    assert sorted(x.name for x in tmp_path.iterdir()) == ["in", "out"]


def test_a_change_of_the_function_leaves_nothing(tmp_path, pathcond, monkeypatch):
    from pathcond_native.files import streamed

    def wrong(*arguments):
        return [1.01 * x for x in multipliers(*arguments)]

    multipliers = streamed.multipliers
    monkeypatch.setattr(streamed, "multipliers", wrong)
    index = write_shards(tmp_path / "in", net().state_dict())
    code, out, err = pathcond("rescale", *named(index, tmp_path / "out"))
    assert (code, out) == (1, "") and "rescaling changed output" in err
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


def test_overflow_leaves_nothing(tmp_path, pathcond):
    state = {n: x.half() if x.is_floating_point() else x for n, x in net().state_dict().items()}
    state["hidden.weight"] *= 1e-3
    state["norm.weight"] *= 3e4
    index = write_shards(tmp_path / "in", state)
    code, _, err = pathcond("rescale", *named(index, tmp_path / "out", "--strength", "-4"))
    assert code == 1 and "would overflow torch.float16" in err
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


def test_a_model_is_built_without_memory_for_its_parameters():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.big = nn.Linear(1 << 14, 1 << 14)  # 1 GiB, but only in name
            self.a = shared = nn.Parameter(torch.ones(3), requires_grad=False)
            self.b, self.c = shared, self.a
            self.register_buffer("mask", torch.arange(3))

    with parameters_on_meta():
        model = Model()
    assert all(x.is_meta for x in model.parameters())
    assert model.a is model.b is model.c and not model.a.requires_grad
    assert model.mask.tolist() == [0, 1, 2]
    assert not nn.Linear(2, 2).weight.is_meta


def test_scratch_has_no_name_and_its_pages_come_back(tmp_path):
    numbers = torch.randn(3, 1 << 16, dtype=torch.float64)
    with Mapped() as mapped, Scratch(tmp_path, mapped) as scratch:
        kept = [scratch.keep(x, 0) for x in (numbers, numbers.t(), numbers[0, :5])]
        assert list(tmp_path.iterdir()) == []
        for _ in range(3):
            mapped._done.wait(0.02)
            assert torch.equal(kept[0], numbers) and torch.equal(kept[1], numbers.t())
        assert kept[2].data_ptr() == numbers.data_ptr()  # too small to be worth it
        scratch.__exit__()
        assert mapped._maps == [] and torch.equal(kept[0], numbers)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--report", "report.html"), 2, "no --report"),
        (("--key", "model"), 3, "--key: safetensors files hold one set"),
        (("--criterion", "cle", "--method", "cd"), 3, "method: expected 'auto'"),
    ],
)
def test_what_does_not_go_tensor_by_tensor_is_told(tmp_path, pathcond, more, code, words):
    index = write_shards(tmp_path / "in", net().state_dict())
    found, out, err = pathcond("rescale", *named(index, tmp_path / "out", *more))
    assert (found, out) == (code, "") and words in err and len(err.splitlines()) == 1
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


def test_outputs_that_cannot_be(tmp_path, pathcond):
    index = write_shards(tmp_path / "in", net().state_dict())
    before = contents(tmp_path / "in")
    held = tmp_path / "held"
    held.mkdir()
    (held / "file").touch()
    single = tmp_path / "single.safetensors"
    save_file(loaded(tmp_path / "in"), single)
    for checkpoint, output, more, code, words in [
        (index, tmp_path / "in", (), 2, "is the input"),
        (index, index, (), 2, "is the input"),
        (index, held, (), 5, "it exists already"),
        (index, held / "file", (), 5, "it exists already"),
        (index, tmp_path / "no" / "where", (), 5, "cannot be written (No such file"),
        (single, held, ("--stream",), 2, "expected a name in .safetensors"),
        (single, single, ("--stream",), 2, "is the input"),
    ]:
        found, _, err = pathcond("rescale", *named(checkpoint, output, *more))
        assert (found, len(err.splitlines())) == (code, 1) and words in err, err
    arguments = ("small_nets:net", "--checkpoint", index, "--input", INPUT, "--in-place")
    code, _, err = pathcond("rescale", *arguments)
    assert code == 2 and "not overwritten" in err
    code, _, err = pathcond("rescale", *named(tmp_path / "x.pt", tmp_path / "y.pt", "--stream"))
    assert code == 2 and "--stream goes with" in err
    assert contents(tmp_path / "in") == before
    assert sorted(x.name for x in tmp_path.iterdir()) == ["held", "in", "single.safetensors"]


def test_the_optimum_is_that_of_the_path_in_memory(tmp_path, rescale):
    """Matrices that no rows share go through the disk."""
    from small_nets import wide

    import pathcond_native as pc

    model, x = wide(), torch.ones(1, 200)
    index = write_shards(tmp_path / "in", model.state_dict())
    facts = rescale(*named(index, tmp_path / "out", build="wide", given="1x200"))
    report = pc.rescale_(model, x)
    assert facts["gradient_norm"] <= 1e-12
    np.testing.assert_allclose(facts["objective"], report.objective, rtol=1e-12)
    for group, layer in zip(report.groups, facts["layers"], strict=True):
        np.testing.assert_allclose(layer["largest_scale"], group.largest_scale, rtol=1e-10)
    new = loaded(tmp_path / "out")
    assert all(torch.equal(new[name], y) for name, y in model.state_dict().items())
    assert json.loads((tmp_path / "out" / INDEX).read_text())["weight_map"].keys() == new.keys()
