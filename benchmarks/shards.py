"""``python -m benchmarks.shards``: memory and time of rescaling a checkpoint of 4 GB in shards.

Writes ``results/shards.json``; the checkpoint and its output are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .scaling import describe_machine

WIDTH, DEPTH, SHARDS = 4096, 64, 8
ALLOWED = 1 << 30  # bytes
_INDEX = "model.safetensors.index.json"
_AT_ONCE = 8 << 20


def network() -> nn.Sequential:
    """64 layers of width 4096: 1.07 billion parameters, 4.3 GB in float32."""
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def write_checkpoint(folder: Path) -> None:
    """Random weights of the usual size, in shards with an index, one layer in memory at a time."""
    generator = torch.Generator().manual_seed(0)
    where, per_shard = {}, DEPTH // SHARDS
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        names = [f"{2 * (shard * per_shard + k)}." for k in range(per_shard)]
        for name in names:
            for kind, shape in (("weight", [WIDTH, WIDTH]), ("bias", [WIDTH])):
                size = 4 * torch.Size(shape).numel()
                offsets = [end, end + size]
                header[name + kind] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
                where[name + kind] = file
                end += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for _ in names:
                for count, size in ((WIDTH * WIDTH, (2 / WIDTH) ** 0.5), (WIDTH, 0.01)):
                    x = size * torch.randn(count, generator=generator)
                    stream.write(x.numpy().data)
    index = {"metadata": {}, "weight_map": where}
    (folder / _INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def copy(source: Path, target: Path) -> float:
    """Seconds to read and write all bytes once, down to the disk."""
    start = time.perf_counter()
    target.mkdir()
    for file in sorted(source.iterdir()):
        with file.open("rb", buffering=0) as old, (target / file.name).open("wb") as new:
            for part in _parts(old):
                new.write(part)
            new.flush()
            os.fsync(new.fileno())
    return time.perf_counter() - start


def _parts(stream: Any) -> Iterator[bytes]:
    while part := stream.read(_AT_ONCE):
        yield part


def rescale(source: Path, target: Path) -> dict[str, Any]:
    """What the command line says, with its seconds and its peak memory."""
    arguments = ["rescale", "benchmarks.shards:network", "--checkpoint", str(source)]
    arguments += ["--input", f"1x{WIDTH}", "-o", str(target), "--json"]
    start = time.perf_counter()
    out, write = os.pipe()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "pathcond_native", *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    os.close(write)
    with os.fdopen(out, encoding="utf-8") as said:
        report = said.read()
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("the rescaling failed")
    facts = json.loads(report)
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": 1024 * usage.ru_maxrss,
        "stages": facts["seconds"],
        "neurons": facts["neurons"],
        "gradient_norm": facts["gradient_norm"],
        "objective": [facts["initial_objective"], facts["objective"]],
        "max_relative_error": facts["verification"]["max_relative_error"],
    }


def main() -> int:
    """Measure, check the bound, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where 13 GB, then 21, fit; default: temporary")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        source, target, copied = (Path(place) / name for name in ("in", "out", "copy"))
        source.mkdir()
        write_checkpoint(source)
        size = sum(file.stat().st_size for file in source.iterdir())
        seconds = copy(source, copied)
        for file in copied.iterdir():
            file.unlink()
        found = rescale(source, target)
        same = [x.stat().st_size for x in sorted(source.iterdir())]
        if same != [x.stat().st_size for x in sorted(target.iterdir())]:
            raise SystemExit("the output has other sizes")
    facts = {
        "machine": describe_machine(),
        "checkpoint_bytes": size,
        "copy_seconds": seconds,
        "rescale": found,
    }
    text = json.dumps(facts, indent=2) + "\n"
    print(text, end="")
    if found["peak_bytes"] > ALLOWED:
        raise SystemExit(f"more than {ALLOWED} bytes of memory")
    (Path(__file__).parent / "results" / "shards.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
