"""Which digit is this? Its 8x8 image comes pixel by pixel, and the answer is asked after the last.

Source: Optical Recognition of Handwritten Digits (1998), E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC
BY 4.0; the same 1,797 images as scikit-learn's ``load_digits``. They ship inside the package: see ``data/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Split, Task

PIXELS, LEVELS, CLASSES = 64, 17, 10


@cache
def _splits() -> dict[str, tuple[Tensor, Tensor]]:
    """Split -> images (image, 64), labels (image,), both uint8: 70, 15 and 15 % of the permutation stored with the
    images."""
    stored = files("seqmem.tasks").joinpath("data/digits.npz")
    with stored.open("rb") as file, np.load(file, allow_pickle=False) as data:
        order = data["order"]
        images, labels = torch.from_numpy(data["images"][order]), torch.from_numpy(data["labels"][order])
    train, validation = int(0.7 * len(order)), int(0.85 * len(order))
    bounds = {"train": (0, train), "validation": (train, validation), "test": (validation, len(order))}
    return {split: (images[first:last], labels[first:last]) for split, (first, last) in bounds.items()}


@dataclass(frozen=True)
class Digits(Task):
    """64 grey levels, tokens 0 to 16, row by row; at the last pixel the class is asked, tokens 17 to 26.

    There are no options. 1,257 images train, 270 validate, 270 test. They have one size, so there is one length to test
    at.
    """

    name: ClassVar[str] = "digits"
    solved_at: ClassVar[float | None] = None

    @property
    def vocab_size(self) -> int:
        return LEVELS + CLASSES

    @property
    def train_length(self) -> int:
        return PIXELS

    @property
    def test_lengths(self) -> tuple[int, ...]:
        return (PIXELS,)

    @property
    def chance(self) -> float:
        return 1 / CLASSES

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` images of the split in random order; none comes twice in a batch before every one has come
        once."""
        _check.request(self.name, batch_size, length, generator, split)
        if length != PIXELS:
            raise InputError(f"task '{self.name}': length={length}, expected {PIXELS}: the images have 8x8 pixels")
        images, labels = _splits()[split]
        passes = -(-batch_size // len(images))
        order = _draw.shuffled(torch.arange(len(images)).expand(passes, -1), generator).flatten()[:batch_size]
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1] = LEVELS + labels[order]
        return Batch(images[order].long(), targets)

    def example(self, generator: torch.Generator) -> str:
        """The image in eight lines of characters, darker for more ink, and its class."""
        batch = self.sample(1, PIXELS, generator)
        shades = " .:-=+*#@"
        rows = batch.inputs[0].view(8, 8).tolist()
        picture = "\n".join("".join(2 * shades[level // 2] for level in row) for row in rows)
        return f"{picture}\n-> {int(batch.targets[0, -1]) - LEVELS}"
