"""Induction: what followed the marker, when it was seen the first time?

Source: Hungry Hungry Hippos: Towards Language Modeling with State Space Models (2022), arXiv 2212.14052, its induction
head; tested at far greater lengths in Mamba (2023), arXiv 2312.00752, section 4.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

MARKER = 0


@dataclass(frozen=True)
class Induction(Task):
    """Random symbols, among them, once, the marker and what follows it; at the end the marker again.

    There the symbol that followed it is asked. One association in any length: it takes no capacity, only the right
    thing to look for and to keep.

    Options:
        length: time steps of a training example, at least 3.
        vocabulary: number of different symbols beside the marker.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; try powers of two up to 16,384.
    """

    changes: ClassVar[Changes] = {"vocabulary": (32, 64), "length": (128, 256)}

    length: int = 64
    vocabulary: int = 15
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("induction", "length", self.length, at_least=3)
        _check.integer("induction", "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("induction", self.test_lengths, length))
        for one in self.test_lengths:
            _check.integer("induction", "length", one, at_least=3)

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + 1

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, at least 3. Every place but the last two is as likely as
        any other."""
        _check.request("induction", batch_size, length, generator, split)
        _check.integer("induction", "length", length, at_least=3)
        inputs = torch.randint(1, self.vocab_size, (batch_size, length), generator=generator)
        place = torch.randint(length - 2, (batch_size, 1), generator=generator)
        inputs.scatter_(1, place, MARKER)
        inputs[:, -1] = MARKER
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1:] = inputs.gather(1, place + 1)
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """Symbols as numbers, the marker as a star."""
        batch = self.sample(1, self.length, generator)
        words = ["*" if token == MARKER else str(token) for token in batch.inputs[0].tolist()]
        return f"{' '.join(words)} -> {int(batch.targets[0, -1])}"
