"""`rescale` of exported programs: the same graph and function, new values."""

import zipfile

import pytest

torch = pytest.importorskip("torch")
from small_nets import Tied, moved, net  # noqa: E402
from torch.export import Dim, export, load, save  # noqa: E402

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def graph(program):
    return [(node.op, str(node.target), str(node.args)) for node in program.graph.nodes]


@pytest.fixture
def program(tmp_path):
    """The small network, exported to a file with an extra file inside."""
    path = tmp_path / "net.pt2"
    save(export(net(), (X,)), path, extra_files={"labels.txt": "a b c d"})
    return path


def test_the_function_stays_and_the_weights_move(program, rescale):
    out = program.with_name("out.pt2")
    before = program.read_bytes()
    facts = rescale(program, "-o", out)
    old, new = load(program), load(out)
    assert facts["neurons"] == 8 + 16
    assert facts["verification"]["max_relative_error"] <= 1e-5
    assert moved(old.module()(X), new.module()(X)) <= 1e-5
    assert graph(old) == graph(new)
    for name in ("norm.weight", "hidden.weight", "out.weight"):
        assert moved(old.state_dict[name], new.state_dict[name]) > 1e-2
    for name in ("conv.weight", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(old.state_dict[name], new.state_dict[name])
    assert program.read_bytes() == before


def test_it_is_what_rescale_does_in_python(program, rescale):
    from pathcond_native import rescale_

    out = program.with_name("out.pt2")
    rescale(program, "-o", out, "--max-scale", "1.5", "--strength", "0.5")
    model = net()
    rescale_(model, X, max_scale=1.5, strength=0.5)
    for name, x in load(out).state_dict.items():
        torch.testing.assert_close(x.detach(), model.state_dict()[name], rtol=1e-6, atol=0)


def test_extra_files_and_example_inputs_survive(program, rescale):
    out = program.with_name("out.pt2")
    rescale(program, "-o", out)
    extra = {"labels.txt": ""}
    again = load(out, extra_files=extra)
    assert extra["labels.txt"] == "a b c d"
    assert torch.equal(again.example_inputs[0][0], X)


def test_powers_of_two_keep_every_bit_of_the_outputs(program, rescale):
    old = load(program).module()(X)
    facts = rescale(program, "--in-place", "--round-to", "power_of_two")
    assert facts["output"] == str(program)
    assert facts["verification"]["max_relative_error"] == 0.0
    assert torch.equal(old, load(program).module()(X))


def test_tied_weights_stay_tied(tmp_path, rescale):
    tokens = torch.arange(10).reshape(2, 5)
    model, path, out = Tied().eval(), tmp_path / "tied.pt2", tmp_path / "out.pt2"
    save(export(model, (tokens,)), path)
    assert rescale(path, "-o", out)["neurons"] == 24
    state = load(out).state_dict
    assert state["embed.weight"].data_ptr() == state["out.weight"].data_ptr()
    assert moved(model.embed.weight, state["embed.weight"]) > 1e-2
    assert moved(model(tokens), load(out).module()(tokens)) <= 1e-5


def test_an_export_of_training_mode_stays_one(tmp_path, rescale):
    path, out = tmp_path / "train.pt2", tmp_path / "out.pt2"
    save(export(net().train(), (X,)), path)
    rescale(path, "-o", out)
    assert graph(load(path)) == graph(load(out))
    old, new = load(path).module(), load(out).module()
    assert moved(old(X), new(X)) <= 1e-5
    assert torch.equal(old.norm.running_mean, new.norm.running_mean)


class Sum(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x, y):
        return self.net(x) + self.net(y)


def test_dynamic_shapes_and_keyword_inputs(tmp_path, rescale):
    path, out = tmp_path / "sum.pt2", tmp_path / "out.pt2"
    batch = {0: Dim("batch", min=1, max=64)}
    inputs, shapes = {"x": X, "y": 2 * X}, {"x": batch, "y": batch}
    save(export(Sum(), (), inputs, dynamic_shapes=shapes), path)
    rescale(path, "-o", out)
    x, y = torch.randn(2, 5, 3, 8, 8)
    assert moved(load(path).module()(x=x, y=y), load(out).module()(x=x, y=y)) <= 1e-5


def test_positional_and_keyword_inputs_together_are_refused(tmp_path, pathcond):
    path = tmp_path / "sum.pt2"
    save(export(Sum(), (X,), {"y": X}), path)
    code, _, err = pathcond("rescale", path, "--in-place")
    assert code == 3 and "both positional and keyword" in err


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_program_without_example_inputs(tmp_path, pathcond, dynamic):
    path, out = tmp_path / "bare.pt2", tmp_path / "out.pt2"
    shapes = ({0: Dim("batch", min=1, max=64)},) if dynamic else None
    program = export(net(), (X,), dynamic_shapes=shapes)
    program._example_inputs = None
    save(program, path)
    code, _, err = pathcond("rescale", path, "-o", out)
    assert code == (3 if dynamic else 0)
    assert ("give --input" in err) is dynamic
    assert pathcond("rescale", path, "-o", out, "--input", "2x3x8x8")[0] == 0


@pytest.mark.parametrize("content", [b"", b"not a program", None])
def test_what_is_no_program_is_refused_in_one_line(tmp_path, pathcond, content):
    path = tmp_path / "bad.pt2"
    if content is None:  # a ZIP file of something else
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hello.txt", "hello")
    else:
        path.write_bytes(content)
    code, out, err = pathcond("rescale", path, "-o", tmp_path / "out.pt2")
    assert (code, out) == (3, "")
    assert "bad.pt2" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out.pt2").exists()
