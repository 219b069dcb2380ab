"""Published architectures keep their function, and every channel that can be rescaled is.

The slow test checks them; the others hold the committed results, which
``python -m benchmarks.families`` writes, to the same limits.
"""

import gc
import importlib.metadata
import importlib.util
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from families import FLOORS, Entry, catalogue, timm_names, torchvision_names
from family_check import check, problems
from family_reasons import kind_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
LIBRARIES = ("torchvision", "timm", "transformers", "monai")


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.families")


@pytest.fixture
def results():
    if not RESULTS.is_dir():
        pytest.skip("the results are not part of a source distribution")
    return json.loads((RESULTS / "families.json").read_text(encoding="utf-8"))


@pytest.fixture
def models(results):
    return results["models"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", LIBRARIES)
def test_architectures(library, one_thread, benchmark_module):
    for name in ("torchvision", library) if library == "timm" else (library,):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    wrong = {}
    for name, entry in catalogue(library).items():
        try:
            facts = check(entry)
        except Exception as error:
            wrong[name] = [f"{type(error).__name__}: {error}"]
        else:
            wrong[name] = problems(facts)
            if benchmark_module.share([facts]) < FLOORS[entry.family]:
                wrong[name].append(f"not rescaled: {facts['gaps']}")
        gc.collect()
    assert not {name: found for name, found in wrong.items() if found}


def test_nothing_is_wrong(models):
    wrong = {name: problems(facts) for name, facts in models.items()}
    assert not {name: found for name, found in wrong.items() if found}


def test_every_neuron_was_rescaled(models):
    """At random in float64, and to the optimum unless the table says that memory forbids it."""
    for name, facts in models.items():
        if facts["neurons"]:
            assert "float64" in facts, name
            assert "float32" in facts or "random rescaling only" in facts["remark"], name
    assert sum("float32" not in facts for facts in models.values() if facts["neurons"]) <= 4


def test_coverage_by_family(models, benchmark_module):
    families = {facts["family"] for facts in models.values()}
    assert families == FLOORS.keys()
    for family in families:
        members = [facts for facts in models.values() if facts["family"] == family]
        share = benchmark_module.share(members)
        assert math.isnan(share) or share >= FLOORS[family], family


def test_enough_architectures(models):
    libraries = Counter(facts["library"] for facts in models.values())
    assert libraries["timm"] >= 40
    assert {f"timm {name}" for name in timm_names()} == {
        name for name, facts in models.items() if facts["library"] == "timm"
    }
    for family, library in (
        ("OPT", "transformers"),
        ("T5", "transformers"),
        ("ResNet", "transformers"),
        ("RegNet", "transformers"),
        ("UNet", "monai"),
    ):
        assert any((f["family"], f["library"]) == (family, library) for f in models.values())


@pytest.mark.filterwarnings("ignore")
def test_every_classification_model_of_torchvision(models, results):
    if importlib.util.find_spec("torchvision") is None:
        assert sum(facts["library"] == "torchvision" for facts in models.values()) >= 80
        return
    if importlib.metadata.version("torchvision") != results["versions"]["torchvision"]:
        pytest.skip("the results are of another version of torchvision")
    assert {f"torchvision {name}" for name in torchvision_names()} <= models.keys()


def test_the_table_shows_the_results(results, benchmark_module):
    text = (RESULTS / "families.md").read_text(encoding="utf-8")
    assert text == benchmark_module.render(results["versions"], results["models"], FLOORS)


@pytest.mark.parametrize(
    ("reason", "kind", "mathematical"),
    [
        ("feeds aten.gelu in blocks.0.act: it has no scaling rule", "function", True),
        (
            "aten.batch_norm in a.b divides out the scale of its input in training mode",
            "norm",
            True,
        ),
        ("feeds aten.add in a: a constant is added", "constant", True),
        ("feeds aten.gather in a.b: it has no scaling rule", "no rule", False),
        ("feeds aten.index in a: its index is not a constant", "index", False),
    ],
)
def test_reasons(reason, kind, mathematical):
    found = kind_of(Entry("some model", "Some", torch.nn.Module, dict), reason)
    assert found[0].startswith(kind) and found[1] is mathematical


@pytest.mark.parametrize("operator", ["relu", "conv2d", "unheard_of"])
def test_an_unknown_reason_is_an_error(operator):
    """A gap cannot hide behind a reason that nobody sorted."""
    entry = Entry("some model", "Some", torch.nn.Module, dict)
    with pytest.raises(AssertionError, match="is this reason mathematical"):
        kind_of(entry, f"feeds aten.{operator} in a: it has no scaling rule")


def test_a_changed_function_is_a_problem(models):
    facts = json.loads(json.dumps(models["transformers ResNet, basic"]))
    assert not problems(facts)
    facts["float64"]["training"] = 1e-9
    del facts["float32"]["evaluation"]
    facts["float64"]["control"] = 0.0
    assert len(problems(facts)) == 3
    facts["float64"]["powers_of_two"] = {"training": 0.0}
    facts["float32"] |= {"evaluation": 1e-3, "rounding": {"evaluation": 2e-4}}
    assert len(problems(facts)) == 1
