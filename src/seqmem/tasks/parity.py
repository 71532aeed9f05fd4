"""Parity: is the number of ones read so far odd?

Source: Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


@dataclass(frozen=True)
class Parity(Task):
    """Random bits; the answer is 1 where the number of ones up to and including this position is odd.

    One bit of memory is enough for any length, but it has to be turned over by the input, not to fade.

    Options:
        length: time steps of a training example.
        every_position: ask at every step; False asks at the last only, as in the source, which is much harder to learn.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"every_position": (False,), "length": (64, 128)}

    length: int = 32
    every_position: bool = True
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("parity", "length", self.length, at_least=1)
        _check.boolean("parity", "every_position", self.every_position)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("parity", self.test_lengths, length))

    @property
    def vocab_size(self) -> int:
        return 2

    @property
    def chance(self) -> float:
        return 0.5

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("parity", batch_size, length, generator, split)
        inputs = torch.randint(2, (batch_size, length), generator=generator)
        targets = inputs.cumsum(dim=1) % 2
        if not self.every_position:
            targets[:, :-1] = IGNORE
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """The bits, and under each the answer that is asked there."""
        batch = self.sample(1, self.length, generator)
        answers = ("." if token == IGNORE else str(token) for token in batch.targets[0].tolist())
        return f"bits    {' '.join(map(str, batch.inputs[0].tolist()))}\nanswer  {' '.join(answers)}"
