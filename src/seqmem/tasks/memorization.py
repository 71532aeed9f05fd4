"""Facts that are the same in every example, and can only be known from training.

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its memorization task.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


@dataclass(frozen=True)
class Memorization(Task):
    """Keys of one fixed table, each followed by a blank at which its value is asked.

    No value is ever read: what is measured is how many facts the weights of a model hold, not its state.

    Options:
        length: time steps of a training example, an even number.
        facts: keys in the table.
        values: number of different values.
        table: the seed that the table is drawn from; another one, another table.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"facts": (512, 1024, 2048), "values": (32, 64)}

    length: int = 32
    facts: int = 256
    values: int = 16
    table: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.even("memorization", "length", self.length, "half keys, half blanks")
        _check.integer("memorization", "facts", self.facts, at_least=1)
        _check.integer("memorization", "values", self.values, at_least=2)
        _check.integer("memorization", "table", self.table, at_least=0)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("memorization", self.test_lengths, length))
        for one in self.test_lengths:
            _check.even("memorization", "length", one, "half keys, half blanks")

    @property
    def vocab_size(self) -> int:
        return self.facts + self.values + 1

    @property
    def blank(self) -> int:
        """The token after a key."""
        return self.facts + self.values

    @property
    def chance(self) -> float:
        return 1 / self.values

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of keys drawn anew; the facts are those of the table."""
        _check.request("memorization", batch_size, length, generator, split)
        _check.even("memorization", "length", length, "half keys, half blanks")
        keys = torch.randint(self.facts, (batch_size, length // 2), generator=generator)
        inputs = torch.full((batch_size, length), self.blank)
        targets = torch.full((batch_size, length), IGNORE)
        inputs[:, ::2] = keys
        targets[:, 1::2] = self.facts + _table(self.facts, self.values, self.table)[keys]
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """Some facts."""
        batch = self.sample(1, 6, generator)
        facts = zip(batch.inputs[0, ::2].tolist(), batch.targets[0, 1::2].tolist(), strict=True)
        return "  ".join(f"key {key} ? -> {value - self.facts}" for key, value in facts)


@lru_cache(16)
def _table(facts: int, values: int, seed: int) -> Tensor:
    return torch.randint(values, (facts,), generator=torch.Generator().manual_seed(seed))
