"""``python -m benchmarks.paper.table1``: parameters, hidden units and paths of known networks.

The paper counts as hidden units the output channels of all convolutions, and as paths the value of
the network with all its weights one: batch normalisation passes sums on, averages divide. Beside
that, what this package counts: neurons that can be rescaled, and connections as they are.
"""

from __future__ import annotations

import math

import torch
from torch import nn

import pathcond_native as pc
from pathcond_native.cli.networks import CIFAR_NV

from ..vision import models
from .record import RESULTS, Facts, Record, arguments

PAPER = {  # parameters and hidden units, arXiv 2602.19799, table 1
    "resnet18": (11_689_512, 4_800),
    "resnet34": (21_797_672, 8_512),
    "resnet50": (25_557_032, 26_560),
    "alexnet": (61_100_840, 9_344),
    "vgg16": (138_357_544, 12_416),
    "CIFAR-NV": (2_616_576, 1_792),
}


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with random weights, and an input of its usual size."""
    if name == "CIFAR-NV":
        return CIFAR_NV.build(), CIFAR_NV.inputs(1)
    return getattr(models(), name)(weights=None), torch.zeros(1, 3, 224, 224)


def hidden_units(model: nn.Module) -> int:
    """Output channels of all layers but the last."""
    layers = [x for x in model.modules() if isinstance(x, (nn.Conv2d, nn.Linear))]
    return sum(x.weight.shape[0] for x in layers[:-1])


def run(name: str) -> Facts:
    model, x = build(name)
    found = pc.stats(model.eval(), x)
    biases = [p.numel() for n, p in model.named_parameters() if n.endswith("bias")]
    return {
        "parameters": found.parameters,
        "biases": sum(biases),
        "hidden_units": hidden_units(model),
        "neurons": found.neurons,
        "log10_paths": found.log10_paths,
        "log10_paths_with_biases": found.log10_paths_with_biases,
    }


def table(record: Record) -> str:
    lines = [
        "| | parameters | of the paper | hidden units | of the paper | neurons | log10 paths |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, facts in record.runs.items():
        parameters, units = PAPER[name]
        lines.append(
            f"| {name} | {facts['parameters']:,} | {parameters:,} | {facts['hidden_units']:,} | "
            f"{units:,} | {facts['neurons']:,} | {facts['log10_paths']:.2f} |"
        )
    return "\n".join(lines)


def remarks(record: Record) -> str:
    cifar = record.runs["CIFAR-NV"]
    weights = cifar["parameters"] - cifar["biases"]
    left = PAPER["CIFAR-NV"][0] - weights
    return f"""\
Hidden units: output channels of all convolutions, and the fully connected units of AlexNet and
VGG-16, which the paper's numbers include. Neurons: channels that can be rescaled one by one; the
additions of a ResNet tie the channels of a stream together. Parameters of CIFAR-NV: {weights:,}
weights and {cifar["biases"]:,} biases, one for every unit and output. The paper's number leaves
{left:,} biases, as many as its three layers of 256 channels have; it does not say which. Paths:
from inputs to outputs; an average counts every entry that it averages, a batch normalisation its
one connection, a constant 0 in the padding none."""


def main() -> None:
    options = arguments(__doc__)
    record = Record.open("table1", {}, options)
    if not options.plot:
        record.run(["CIFAR-NV"] if options.quick else PAPER, run, "table 1")
    assert all(math.isfinite(facts["log10_paths"]) for facts in record.runs.values())
    print(table(record))
    if not options.quick:
        (RESULTS / "table1.md").write_text(f"{table(record)}\n\n{remarks(record)}\n")


if __name__ == "__main__":
    main()
