"""Fashion-MNIST as Debian's package ``dataset-fashion-mnist`` installs it (MIT licence)."""

from __future__ import annotations

import gzip
import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


def _read(name: str) -> np.ndarray:
    path = FOLDER / f"{name}.gz"
    if not path.exists():
        raise SystemExit(
            f"{path} is missing: apt-get install dataset-fashion-mnist, or set FASHION_MNIST to a "
            "folder with the four IDX files"
        )
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


@cache
def fashion_mnist(train: int, test: int, pool: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first `train` and `test` images and labels; squares of `pool` pixels are averaged.

    Returns:
        Images (n, 1, 28 / pool, 28 / pool) float32, shifted and scaled to mean 0 and variance 1
        over the training images, and labels (n,) int64, of the training and of the test set.
    """
    x, y, x_test, y_test = (
        torch.from_numpy(_read(name).copy())
        for name in (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        )
    )
    x, x_test = (
        functional.avg_pool2d(images.float().div(255).unsqueeze(1), pool)
        for images in (x[:train], x_test[:test])
    )
    mean, deviation = x.mean(), x.std()
    x, x_test = ((images - mean) / deviation for images in (x, x_test))
    return x, y[:train].long(), x_test, y_test[:test].long()
