"""ONNX files on the command line: what changes, what stays, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from small_graphs import convolutions, graph, mlp, moved, node, weights

import pathcond_native as pc
from pathcond_native.__main__ import main

NO_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Refuse())
"""


def without_torch(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(convolutions(), path)
    return path


def same_but_for_values(a, b):
    """Whether two models differ in nothing but the values of float initialisers."""
    copies = []
    for model in (a, b):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            for field in ("raw_data", "float_data", "double_data", "int32_data"):
                tensor.ClearField(field)
        copies.append(copy.SerializeToString(deterministic=True))
    return copies[0] == copies[1]


def test_the_command_line_needs_no_torch(path, image):
    out = path.with_name("out.onnx")
    said = without_torch(
        "from pathcond_native.__main__ import main\n"
        "code = main(['rescale', sys.argv[1], '-o', sys.argv[2], '--json'])\n"
        "code += main(['stats', sys.argv[1]])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)",
        path,
        out,
    )
    assert '"neurons": 14' in said and "rescalable neurons  14" in said
    before, after = onnx.load(path), onnx.load(out)
    assert 0 < moved(before, after, image) <= 1e-5
    assert same_but_for_values(before, after)


def test_the_library_needs_no_torch(path):
    said = without_torch(
        "import onnx, pathcond_native as pc\n"
        "from pathcond_native import onnx as graphs\n"
        "model = onnx.load(sys.argv[1])\n"
        "print(pc.rescale_onnx(model).neurons, graphs.trace(model).shape)\n"
        "assert 'torch' not in sys.modules",
        path,
    )
    assert said.split("\n")[0] == "14 (165, 14)"


@pytest.mark.parametrize("criterion", ["pathcond", "enorm", "cle"])
def test_every_criterion_keeps_the_function(path, image, criterion):
    before = onnx.load(path)
    out = path.with_name("out.onnx")
    report = pc.rescale_onnx(path, output=out, criterion=criterion)
    after = onnx.load(out)
    assert 0 < moved(before, after, image) <= 1e-5
    assert report.criterion == criterion and report.objective < report.initial_objective
    assert onnx.load(path) == before


def test_powers_of_two_keep_every_bit(image):
    model = convolutions()
    before = onnx.ModelProto()
    before.CopyFrom(model)
    pc.rescale_onnx(model, round_to="power_of_two")
    assert moved(before, model, image) == 0.0
    assert model != before


def test_open_batches_stay_open(tmp_path):
    model = mlp()
    report = pc.rescale_onnx(model)
    assert report.verification.runs == ("random inputs", "random inputs, twice as many")
    assert pc.rescale_onnx(mlp(batch=2)).verification.runs == ("random inputs",)
    for n in (1, 7):
        x = np.random.default_rng(n).standard_normal((n, 4)).astype(np.float32)
        assert moved(mlp(), model, {"x": x}) <= 1e-5


def test_external_data_metadata_and_permissions_survive(tmp_path, image):
    model = convolutions()
    model.metadata_props.add(key="author", value="somebody")
    model.doc_string = "a graph"
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="net.data", size_threshold=75)
    path.chmod(0o640)
    assert main(["rescale", str(path), "-o", str(out)]) == 0
    raw = onnx.load(out, load_external_data=False)
    before = onnx.load(path, load_external_data=False)
    external = [
        [t.name for t in x.graph.initializer if external_data_helper.uses_external_data(t)]
        for x in (before, raw)
    ]
    assert external[0] == external[1] and 0 < len(external[0]) < len(raw.graph.initializer)
    assert [(x.key, x.value) for x in raw.metadata_props] == [("author", "somebody")]
    assert 0 < moved(onnx.load(path), onnx.load(out), image) <= 1e-5
    assert out.stat().st_mode & 0o777 == 0o640
    # In place, a new data file stands beside the old one, which the old graph would still fit.
    data = (tmp_path / "net.data").read_bytes()
    assert main(["rescale", str(path), "--in-place"]) == 0
    assert (tmp_path / "net.data").read_bytes() == data
    assert onnx.load(path) == onnx.load(out)


def test_a_batch_that_is_open_in_name_only():
    """The reshape holds the size; verification then does without the other size."""
    model = graph(
        [
            node("Gemm", "x w1 b1", "h1", transB=1),
            node("Relu", "h1", "r1"),
            node("Reshape", "r1 shape", "r2"),
            node("MatMul", "r2 w2", "y"),
        ],
        [
            *weights(w1=(6, 4), b1=(6,), w2=(6, 3)),
            numpy_helper.from_array(np.array([1, 6]), "shape"),
        ],
        {"x": ("N", 4)},
        {"y": ("N", 3)},
    )
    report = pc.rescale_onnx(model)
    assert report.neurons == 6 and report.verification.runs == ("random inputs",)


def test_typed_and_half_precision_initialisers():
    for dtype, allowed in ((np.float16, 2e-2), (np.float64, 1e-12)):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        model = graph(
            [
                node("MatMul", "x w1", "h1"),
                node("Relu", "h1", "r1"),
                node("MatMul", "r1 w2", "y"),
            ],
            [
                helper.make_tensor("w1", kind, (4, 5), np.linspace(-1, 3, 20).astype(dtype)),
                *weights(dtype=dtype, w2=(5, 3)),
            ],
            {"x": ("N", 4)},
            {"y": ("N", 3)},
            dtype=kind,
        )
        report = pc.rescale_onnx(model)
        assert report.neurons == 5 and report.max_relative_error <= allowed
        assert {t.data_type for t in model.graph.initializer} == {kind}


def cyclic():
    return graph(
        [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Identity", "b", "y")],
        [],
        {"x": (1, 4)},
        {"y": (1, 4)},
    )


def lacking():
    model = mlp()
    del model.graph.initializer[0]
    return model


def with_nan():
    model = mlp()
    broken = numpy_helper.to_array(model.graph.initializer[2]).copy()
    broken[0, 0] = np.nan
    model.graph.initializer[2].raw_data = broken.tobytes()
    return model


def old():
    return mlp(opset=9)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda: convolutions().SerializeToString()[:300], "damaged"),
        (lambda: b"this is a poem, not a graph", "ONNX file"),
        (lambda: b"", "damaged"),
        (lambda: cyclic().SerializeToString(), "malformed"),
        (lambda: lacking().SerializeToString(), "malformed"),
        (lambda: with_nan().SerializeToString(), "'w2' is not finite"),
        (lambda: old().SerializeToString(), "opset 11"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, capsys, broken, told):
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    path.write_bytes(broken())
    for command in (["rescale", str(path), "-o", str(out)], ["stats", str(path)]):
        assert main(command) == 3
        printed = capsys.readouterr()
        assert told in printed.err and len(printed.err.splitlines()) == 1
        assert printed.out == ""
    assert list(tmp_path.iterdir()) == [path]


def test_shapes_are_asked_for_where_the_graph_leaves_them_open(tmp_path, capsys):
    model = convolutions()
    for dim in list(model.graph.input[0].type.tensor_type.shape.dim)[2:]:
        dim.dim_param = "size"
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    command = ["rescale", str(path), "-o", str(out)]
    assert main(command) == 3
    assert "leaves the shape of its input 'x' open" in capsys.readouterr().err
    assert main([*command, "--input", "1x5x8x8"]) == 3
    assert "has shape ['?', 2, '?', '?']" in capsys.readouterr().err
    assert main([*command, "--input", "1x2x8x8:int64"]) == 3
    assert main([*command, "--input", "1x2x8x8", "--input", "3"]) == 3
    capsys.readouterr()
    assert main([*command, "--input", "1x2x8x8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["neurons"] == 14


def test_a_wrong_rescaling_is_never_written(path, monkeypatch, capsys):
    from pathcond_native.onnx import rescale

    real = sys.modules["pathcond_native.onnx.rescale"].rescaled_values

    def wrong(*arguments):
        return [(number, 1.01 * new, lost) for number, new, lost in real(*arguments)]

    monkeypatch.setattr(sys.modules[rescale.__module__], "rescaled_values", wrong)
    out = path.with_name("out.onnx")
    assert main(["rescale", str(path), "-o", str(out)]) == 1
    assert "rescaling changed output 'y'" in capsys.readouterr().err
    assert list(path.parent.iterdir()) == [path]


def test_arguments_are_checked_first(tmp_path):
    model = mlp()
    before = model.SerializeToString()
    for wrong in (
        {"criterion": "none"},
        {"round_to": "ten"},
        {"inputs": {"z": (1, 4)}},
        {"inputs": {"x": (1, 5)}},
        {"output": tmp_path / "x.onnx"},
        {"max_scale": 0.5},
    ):
        with pytest.raises(pc.InvalidInputError):
            pc.rescale_onnx(model, **wrong)
    with pytest.raises(pc.InvalidInputError, match="output"):
        pc.rescale_onnx(Path("net.onnx"))
    assert model.SerializeToString() == before


def test_integer_weights_stay_and_are_no_parameters():
    model = graph(
        [
            node("DequantizeLinear", "q s z", "w1"),
            node("MatMul", "x w1", "h1"),
            node("Relu", "h1", "r1"),
            node("MatMul", "r1 w2", "h2"),
            node("Relu", "h2", "r2"),
            node("MatMul", "r2 w3", "y"),
        ],
        [
            numpy_helper.from_array(np.arange(20, dtype=np.int8).reshape(4, 5), "q"),
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.int8(3), "z"),
            *weights(w2=(5, 6), w3=(6, 3)),
        ],
        {"x": ("N", 4)},
        {"y": ("N", 3)},
    )
    report = pc.rescale_onnx(model)
    assert report.neurons == 6
    assert any("is not a parameter" in x.reason for x in report.pinned)
    assert model.graph.initializer[0].data_type == TensorProto.INT8


def test_packages_that_are_missing_are_named(path, capsys, monkeypatch):
    module = sys.modules[main.__module__]
    real = module.installed_version
    monkeypatch.setattr(
        module, "installed_version", lambda name: None if name == "onnxruntime" else real(name)
    )
    assert main(["stats", str(path)]) == 4
    told = capsys.readouterr().err
    assert "needs onnxruntime" in told and "pathcond-native[onnx]" in told and "torch" not in told


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_the_library_says_what_it_lacks(package):
    code = NO_TORCH.replace("'torch'", repr(package)).replace('"torch"', repr(package)) + (
        "import pathcond_native as pc\n"
        "try:\n"
        "    rescale = pc.rescale_onnx\n"
        "    import onnx\n"
        "    rescale(onnx.ModelProto())\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"'{package}'" in done.stdout and "pathcond-native[onnx]" in done.stdout
