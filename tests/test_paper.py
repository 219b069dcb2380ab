"""The paper's experiments in their quick form: they run, and their conclusions hold there too."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tqdm")

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "paper"


def test_figure_1(experiment):
    figure = experiment("figure1")
    figure.main()
    for name, start in figure.STARTS.items():
        theta = np.array(start)
        moved = figure.rescaled(theta)
        assert np.allclose(figure.lifted(moved), figure.lifted(theta), rtol=1e-12)
        u, b, v = moved
        diagonal = np.array([v**2, v**2, u**2 + b**2])
        pi = diagonal / diagonal.sum()
        assert pi[2] - pi[0] - pi[1] == pytest.approx(-1 / 3, abs=1e-12), name  # d / p
    numeric = [
        (figure.loss(figure.lifted(theta + e)) - figure.loss(figure.lifted(theta - e))) / 2e-6
        for e in 1e-6 * np.eye(3)
    ]
    assert np.allclose(figure.gradient(theta), numeric, rtol=1e-6)
    facts = figure.run("small output weight")
    none, rescaled = facts["none"], facts["pathcond"]
    assert rescaled["deviation_from_ideal"] < none["deviation_from_ideal"]
    assert rescaled["losses"][-1] < none["losses"][-1]


def test_figure_4(experiment):
    figure = experiment("figure4")
    rng = np.random.default_rng(0)
    for concentration in (0.05, 1.0, 1e3):
        hidden = figure.widths(concentration, rng)
        assert min(hidden) >= 1
        assert sum(hidden) == figure.MEAN_WIDTH * (figure.LAYERS - 1)
    figure.main()


def test_table_1(experiment, capsys):
    experiment("table1").main()
    assert "| CIFAR-NV | 2,617,610 | 2,616,576 | 1,792 | 1,792 | 1,792 |" in capsys.readouterr().out


def test_geometry(experiment):
    geometry = experiment("geometry")
    geometry.main()
    facts = geometry.run("figure 3, default/0")
    assert facts["max_log_scale"] > 14 > 7 > facts["max_log_scale_of_ten_sweeps"]
    assert facts["gain_per_parameter"] > facts["left_by_ten_sweeps"] > 0.2


def test_committed_results():
    figure4 = json.loads((RESULTS / "figure4.json").read_text())
    assert len(figure4["runs"]) == 400
    table = json.loads((RESULTS / "table1.json").read_text())["runs"]
    assert {name: facts["hidden_units"] for name, facts in table.items()} == {
        "resnet18": 4_800,
        "resnet34": 8_512,
        "resnet50": 26_560,
        "alexnet": 9_344,
        "vgg16": 12_416,
        "CIFAR-NV": 1_792,
    }
    figure1 = json.loads((RESULTS / "figure1.json").read_text())["runs"]
    assert len(figure1) == 3


@pytest.mark.parametrize("name", ["figure2", "figure3", "figure5", "initialisations"])
def test_committed_trainings(name):
    """At least five learning rates and three seeds of every method that is there."""
    runs = json.loads((RESULTS / f"{name}.json").read_text())["runs"]
    seeds = {}
    for run in runs:
        setting, method, rate, seed = run.split("/")
        seeds.setdefault((setting, method), {}).setdefault(rate, set()).add(seed)
    for rates in seeds.values():
        assert len(rates) >= 5
        assert all(len(found) >= 3 for found in rates.values())


def test_an_interrupted_run_goes_on(experiment, tmp_path):
    record = experiment("record")
    done = []

    def run(name):
        if name == "c" and len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return {"name": name}

    first = record.Record(tmp_path / "x.json", {"seed": 0})
    with pytest.raises(KeyboardInterrupt):
        first.run("abc", run, "test")
    again = record.Record(tmp_path / "x.json", {"seed": 0})
    assert list(again.runs) == ["a", "b"]
    done.append("interruption")
    again.run("abc", run, "test")
    assert done == ["a", "b", "interruption", "c"]
    assert record.Record(tmp_path / "x.json", {"seed": 1}).runs == {}


def test_enorm_balances_every_neuron(experiment):
    import torch

    import pathcond_native as pc

    methods = experiment("methods")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 5, 3, bias=False),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(5, 3),
    ).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    before, sizes = model(x), []
    at_once = copy.deepcopy(model)
    pc.rescale_(at_once, x, criterion="enorm")
    for _ in range(60):
        sizes.append(float(sum(p.detach().square().sum() for p in model.parameters())))
        methods.balance(model)
    assert all(b <= a * (1 + 1e-14) for a, b in pairwise(sizes))
    torch.testing.assert_close(model(x), before, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        list(model.parameters()), list(at_once.parameters()), rtol=1e-6, atol=1e-9
    )
    first, second, last = model[0], model[2], model[6]
    entering = first.weight.flatten(1).square().sum(1) + first.bias.square()
    leaving = second.weight.transpose(0, 1).flatten(1).square().sum(1)
    torch.testing.assert_close(entering, leaving, rtol=1e-6, atol=0)
    entering = second.weight.flatten(1).square().sum(1)
    torch.testing.assert_close(entering, last.weight.square().sum(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["none", "enorm", "ten sweeps", "optimum", "max_scale 2"])
def test_every_method_trains(experiment, method):
    import torch

    methods, training = experiment("methods"), experiment("training")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)
    )
    x = torch.randn(400, 1, 4, 4)
    y = (x.sum((1, 2, 3)) > 0).long()
    with torch.no_grad():
        before = model(x)
    after_step = methods.prepare(model, x[:1], method)
    with torch.no_grad():
        torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
    schedule = training.Schedule(60, 0.1, seed=0, target=0.9)
    facts = training.train(model, x, y, (x, y), schedule, after_step)
    assert facts["train_accuracy"][-1] >= 0.9
    assert facts["train_accuracy"] == facts["test_accuracy"]
    assert len(facts["loss"]) < 60


@pytest.mark.parametrize("name", ["figure2", "figure3", "figure5", "initialisations"])
def test_experiments_on_fashion_mnist(experiment, name, capsys):
    if not experiment("fashion").FOLDER.exists():
        pytest.skip("dataset-fashion-mnist is not installed")
    experiment(name).main()
    assert "optimum" in capsys.readouterr().out


def test_figure_2_on_cifar_10(experiment, tmp_path, capsys):
    cifar = experiment("cifar")
    rng = np.random.default_rng(0)
    records = [rng.integers(0, 256, (250, cifar.RECORD), np.uint8) for _ in range(5)]
    for number, batch in enumerate(records, 1):
        batch[:, 0] %= 10
        batch.tofile(tmp_path / f"data_batch_{number}.bin")
    x, y = cifar.cifar10(tmp_path, 600)
    assert y.tolist() == [row[0] for batch in records for row in batch][:600]
    raw = np.concatenate(records)[:600, 1:].reshape(600, 3, 32, 32) / 255
    channel = raw[:, 2]
    expected = (channel - channel.mean()) / channel.std(ddof=1)
    assert np.allclose(x[:, 2], expected, atol=1e-4)
    experiment("figure2", cifar10=str(tmp_path)).main()
    assert "optimum" in capsys.readouterr().out
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 100)
    with pytest.raises(SystemExit, match="records of 3073 bytes"):
        cifar.cifar10(tmp_path, 10)
    with pytest.raises(SystemExit, match="missing"):
        cifar.cifar10(tmp_path / "no", 10)


def test_evidence_is_what_the_results_say(experiment):
    evidence = experiment("evidence")
    page = evidence.PAGE.read_text()
    assert evidence.filled(page) == page
    assert page.count("<!-- end -->") == len(evidence.tables())
    mean, low, high = evidence.interval(np.array([0.5, 1.0, 2.0]))
    assert mean == pytest.approx(1.0)
    assert high == pytest.approx(np.exp(4.302653 * np.log(2) / 3**0.5))
    assert low == pytest.approx(1 / high)
    assert evidence.ratio([1.0, 2.0, np.inf], [2.0, 4.0, 1.0]) == (
        "0.50 [0.50, 0.50]; it fails 1 of 3"
    )
