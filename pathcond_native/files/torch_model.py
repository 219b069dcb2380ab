"""What all files of PyTorch models share: rescale the module, put its values into the file's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from torch import Tensor, nn

from ..errors import InvalidInputError, VerificationError
from ..model import RescaleReport, Stats, rescale_, stats
from ..model.inputs import ExampleInputs
from ..model.state import same_bits, write

__all__ = ["TorchModel"]


class TorchModel(ABC):
    """A module and the tensors of its file, by the names of the module's parameters."""

    def __init__(
        self,
        path: Path | None,
        model: nn.Module,
        inputs: ExampleInputs,
        tensors: Mapping[str, Tensor],
    ) -> None:
        self.path = path
        self.model = model
        self.inputs = inputs
        self.tensors = tensors
        self.notes: list[str] = []

    @abstractmethod
    def write(self, stream: IO[bytes]) -> None:
        """Write the file anew, with `tensors` as they are now."""

    @abstractmethod
    def read_again(self, path: Path) -> Mapping[str, Tensor]:
        """The tensors of a file that was written."""

    def rescale(self, **options: Any) -> RescaleReport:
        """Rescale the module, then the file's tensors; a tie that the file has, it keeps."""
        report = rescale_(self.model, self.inputs, **options)
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        held = {name: x.detach() for name, x in parameters.items() if name in self.tensors}
        for name, x in held.items():
            write(self.tensors[name], x)
        for name, x in held.items():
            if not same_bits(self.tensors[name], x):
                raise InvalidInputError(
                    f"{self.path}: '{name}' shares memory with another tensor of the file, but the "
                    "model has them apart; save the weights with their own memory"
                )
        return report

    def beside(self, output: Path) -> list[tuple[Path, bytes]]:
        """Nothing: the file holds all there is."""
        return []

    def stats(self) -> Stats:
        """What `pathcond_native.stats` says."""
        return stats(self.model, self.inputs)

    def check(self, written: Path) -> None:
        """Read the written file: every tensor has the bits, shape and dtype it should have."""
        found = self.read_again(written)
        wrong = [name for name, x in self.tensors.items() if not _same(found.get(name), x)]
        if wrong or len(found) != len(self.tensors):
            raise VerificationError(
                "the file that was written does not read back as it should"
                + (f" ('{wrong[0]}' differs)" if wrong else "")
            )


def _same(a: Tensor | None, b: Tensor) -> bool:
    if a is None or (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return same_bits(a.detach(), b.detach())
