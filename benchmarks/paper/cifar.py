"""CIFAR-10's binary version (``cifar-10-binary.tar.gz``), which needs no pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue pixels


def cifar10(folder: Path, train: int) -> tuple[Tensor, Tensor]:
    """The first `train` training images and labels of ``data_batch_1.bin`` … ``data_batch_5.bin``.

    Returns:
        Images (n, 3, 32, 32) float32, every channel with mean 0 and variance 1, and labels (n,)
        int64.

    Raises:
        SystemExit: a file is missing or is not what CIFAR-10's binary version has.
    """
    batches = []
    for number in range(1, 6):
        path = folder / f"data_batch_{number}.bin"
        if not path.exists():
            raise SystemExit(f"{path} is missing: expected the folder of CIFAR-10's binary version")
        raw = np.fromfile(path, np.uint8)
        if raw.size % RECORD or raw.size == 0 or raw[::RECORD].max() > 9:
            raise SystemExit(f"{path}: expected records of {RECORD} bytes with labels 0 to 9")
        batches.append(raw.reshape(-1, RECORD))
        if sum(map(len, batches)) >= train:
            break
    records = torch.from_numpy(np.concatenate(batches)[:train])
    images = records[:, 1:].reshape(-1, 3, 32, 32).float().div(255)
    mean, deviation = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return (images - mean) / deviation, records[:, 0].long()
