"""Plain stochastic gradient descent, measured after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .record import Facts

__all__ = ["Schedule", "train"]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and when to stop earlier."""

    epochs: int
    learning_rate: float
    seed: int
    target: float = math.inf
    """Training accuracy at which to stop."""
    batch: int = 128


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    held_out: tuple[Tensor, Tensor] | None,
    schedule: Schedule,
    after_step: Callable[[], None] = lambda: None,
) -> Facts:
    """Train in place; without labels to reproduce the images.

    Returns:
        Per epoch the training loss, with labels also training and test accuracy, and the processor
        time of all. A loss that is not finite ends the run.
    """
    started = time.process_time()
    optimizer = torch.optim.SGD(model.parameters(), lr=schedule.learning_rate)
    generator = torch.Generator().manual_seed(schedule.seed)
    facts: Facts = {"loss": [], "train_accuracy": [], "test_accuracy": []}

    def loss_of(out: Tensor, rows: Tensor) -> Tensor:
        if labels is None:
            return functional.mse_loss(out, images[rows].flatten(1))
        return functional.cross_entropy(out, labels[rows])

    for _ in range(schedule.epochs):
        model.train()
        for rows in torch.randperm(len(images), generator=generator).split(schedule.batch):
            optimizer.zero_grad()
            loss_of(model(images[rows]), rows).backward()
            optimizer.step()
            after_step()
        loss, accuracy = _measure(model, images, labels)
        facts["loss"].append(loss)
        if labels is not None:
            facts["train_accuracy"].append(accuracy)
        if held_out is not None:
            facts["test_accuracy"].append(_measure(model, *held_out)[1])
        if not math.isfinite(loss) or accuracy >= schedule.target:
            break
    facts["cpu_seconds"] = round(time.process_time() - started, 2)
    return facts


@torch.no_grad()
def _measure(model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[float, float]:
    """Mean loss and, with labels, accuracy."""
    model.eval()
    loss, right = 0.0, 0
    for first in range(0, len(images), 2000):
        x = images[first : first + 2000]
        out = model(x)
        if labels is None:
            loss += float(functional.mse_loss(out, x.flatten(1))) * len(x)
            continue
        y = labels[first : first + 2000]
        loss += float(functional.cross_entropy(out, y, reduction="sum"))
        right += int((out.argmax(1) == y).sum())
    return loss / len(images), right / len(images) if labels is not None else -math.inf
