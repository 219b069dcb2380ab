"""``python -m benchmarks.quantisation``: what rescaling does to int8 static quantisation.

A depthwise-separable network, trained on scikit-learn's digits, is exported to ONNX with its batch
norms folded, rescaled by each criterion and quantised by onnxruntime: int8, one scale per weight
tensor, the setting in which ranges across layers matter, and one scale per channel beside it.
Writes ``results/quantisation.json`` and ``quantisation.md``.
"""

from __future__ import annotations

import io
import json
import logging
import platform
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from sklearn.datasets import load_digits
from torch import nn

import pathcond_native as pc
from pathcond_native.onnx.rescale import graph_of, read
from pathcond_native.onnx.weights import rescaled_values

RESULTS = Path(__file__).parent / "results"
SEEDS = range(5)
EPOCHS = 20
SPREAD = 3.0  # of log2 λ, where channels are made uneven
CHOICES: dict[str, dict[str, Any] | None] = {
    "as it came": None,
    "cle": {"criterion": "cle"},
    "enorm": {"criterion": "enorm"},
    "pathcond": {"criterion": "pathcond"},
}
KINDS = ("as trained", "uneven channels")
SCALES = ("per tensor", "per channel")

_NOTES = f"""\
1347 images to train on (and, 256 of them, to calibrate with), 450 to test. Three
depthwise-separable blocks, 16 to 64 channels, ReLU, trained {EPOCHS} epochs with Adam. "Uneven
channels": the same functions, every channel of the folded network rescaled by λ = 2^s with s
uniform in [-{SPREAD:g}, {SPREAD:g}], the case that equalisation is for. Error: root mean square of
the change of the logits, relative to that of the logits; mean and standard deviation of
{len(SEEDS)} seeds. Static quantisation by onnxruntime: QDQ, int8 weights and activations, MinMax.
So small a network, as trained, is not hard to quantise, and no criterion gains much there; where
channels are uneven each of them restores what one scale per tensor loses."""


def main() -> None:
    """Measure everything and write the results."""
    logging.getLogger().setLevel(logging.ERROR)
    images, labels = _digits()
    found: dict[str, Any] = {kind: {} for kind in KINDS}
    floats = []
    for seed in SEEDS:
        model = _exported(_trained(images[:1347], labels[:1347], seed))
        for kind, net in zip(KINDS, (model, _uneven(model, seed)), strict=True):
            logits = _logits(net, images[1347:])
            floats.append(float((logits.argmax(1) == labels[1347:]).mean()))
            for choice, options in CHOICES.items():
                rescaled = onnx.ModelProto()
                rescaled.CopyFrom(net)
                if options is not None:
                    pc.rescale_onnx(rescaled, **options)
                assert np.allclose(_logits(rescaled, images[1347:]), logits, atol=1e-3)
                for scales in SCALES:
                    small = _quantised(rescaled, images[:256], scales == "per channel")
                    own = _logits(small, images[1347:])
                    error = float(np.sqrt(((own - logits) ** 2).mean() / (logits**2).mean()))
                    right = float((own.argmax(1) == labels[1347:]).mean())
                    entry = found[kind].setdefault(choice, {}).setdefault(scales, {})
                    entry.setdefault("error", []).append(error)
                    entry.setdefault("accuracy", []).append(right)
        print(f"seed {seed} done", flush=True)
    _write(found, float(np.mean(floats)))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images / 16.0 - 0.3)[:, None].astype(np.float32)
    return images[order], data.target[order]


def _trained(images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
    torch.manual_seed(seed)

    def layer(a: int, b: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(b), nn.ReLU()]

    def separable(a: int, b: int, stride: int) -> list[nn.Module]:
        return [*layer(a, a, 3, stride, a), *layer(a, b, 1)]

    model = nn.Sequential(
        *layer(1, 16, 3),
        *separable(16, 32, 1),
        *separable(32, 64, 2),
        *separable(64, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def _exported(model: nn.Module) -> onnx.ModelProto:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 1, 8, 8),),
            stream,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
        )
    return onnx.load_from_string(stream.getvalue())


def _uneven(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same function with every channel rescaled at random."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    network = read(result, None)
    graph = graph_of(network)
    log2 = np.random.default_rng(seed).uniform(-SPREAD, SPREAD, graph.shape[1])
    for number, new, _ in list(rescaled_values(network, graph, log2, exact=False)):
        network.tensors[number].raw_data = new.tobytes()
    return result


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self._batches = iter(np.split(images, 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"x": batch}


def _quantised(model: onnx.ModelProto, images: np.ndarray, per_channel: bool) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        large, path = Path(folder) / "large.onnx", Path(folder) / "small.onnx"
        onnx.save(model, large)
        quantization.quantize_static(
            large,
            path,
            _Calibration(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(path)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": images})[0]


def _write(found: dict[str, Any], accuracy: float) -> None:
    packages = ("onnx", "onnxruntime", "scikit-learn", "torch")
    versions = {"python": platform.python_version(), **{x: version(x) for x in packages}}
    facts = {"versions": versions, "float_accuracy": accuracy, "networks": found}
    (RESULTS / "quantisation.json").write_text(json.dumps(facts, indent=1) + "\n")
    columns = [(kind, scales) for kind in KINDS for scales in SCALES]
    lines = [
        "| error of the logits (accuracy) | " + " | ".join(f"{k}, {s}" for k, s in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for choice in CHOICES:
        cells = [_cell(found[kind][choice][scales]) for kind, scales in columns]
        lines.append(f"| {choice} | " + " | ".join(cells) + " |")
    named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    text = [*lines, "", f"Accuracy in float32: {accuracy:.1%}. {named}.", "", _NOTES]
    (RESULTS / "quantisation.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _cell(facts: dict[str, list[float]]) -> str:
    mean, deviation = np.mean(facts["error"]), np.std(facts["error"], ddof=1)
    return f"{mean:.1%} ± {deviation:.1%} ({np.mean(facts['accuracy']):.1%})"


if __name__ == "__main__":
    main()
