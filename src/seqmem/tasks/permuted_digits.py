"""Which digit is this? Its pixels come in an order that is the same for every image, and means nothing.

Source: A Simple Way to Initialize Recurrent Networks of Rectified Linear Units (2015), arXiv 1504.00941, its permuted
digits, on the images of :mod:`seqmem.tasks.digits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.tasks import _check
from seqmem.tasks.base import Batch, Changes, Split
from seqmem.tasks.digits import Digits


@dataclass(frozen=True)
class PermutedDigits(Digits):
    """The task ``digits`` with its grey levels in another order: neighbours on paper are far apart in time.

    Options:
        path: other images, as for ``digits``.
        permutation: the seed of the order; another one, another order.
    """

    name: ClassVar[str] = "permuted_digits"
    changes: ClassVar[Changes] = {"permutation": (1, 2)}

    permutation: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check.integer("permuted_digits", "permutation", self.permutation, at_least=0)

    @property
    def order(self) -> Tensor:
        """(pixels,) int64: the pixel of the image that is read at every step."""
        return _order(self.permutation, self.images.pixels).clone()

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """As ``digits``: images of the split in random order, none twice before every one has come once."""
        batch = super().sample(batch_size, length, generator, split=split)
        return batch._replace(inputs=batch.inputs[:, _order(self.permutation, self.images.pixels)])

    def example(self, generator: torch.Generator) -> str:
        """The grey levels in the order in which they are read, and the class."""
        batch = self.sample(1, self.images.pixels, generator)
        return f"{' '.join(map(str, batch.inputs[0].tolist()))}  -> {int(batch.targets[0, -1]) - self.images.levels}"


@lru_cache(16)
def _order(seed: int, pixels: int) -> Tensor:
    return torch.rand(pixels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).argsort()
