"""Compression: all that was read, out of the one vector that a model has at the end.

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its compression task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


@dataclass(frozen=True)
class Compression(Task):
    """Random symbols, then a token at which everything read must be in one vector; every symbol is asked.

    The symbol of position t is asked *at* position t, but of a model that is given nothing except its last vector and
    the number t: :class:`seqmem.models.LastVectorDecoder`, which a study uses for this task by itself (``readout``).
    A language model that answers at every position has the symbol before its eyes there, and nothing is measured.

    Options:
        length: time steps of a training example, the last of them the token that asks; at least 2.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there is then more to hold.
    """

    readout: ClassVar[Literal["each", "last"]] = "last"
    solved_at: ClassVar[float | None] = 0.995
    changes: ClassVar[Changes] = {"vocabulary": (32, 64, 128), "length": (64, 128)}

    length: int = 32
    vocabulary: int = 16
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("compression", "length", self.length, at_least=2)
        _check.integer("compression", "vocabulary", self.vocabulary, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("compression", self.test_lengths, length))

    @property
    def vocab_size(self) -> int:
        return self.vocabulary + 1

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, at least 2."""
        _check.request("compression", batch_size, length, generator, split)
        _check.integer("compression", "length", length, at_least=2)
        inputs = torch.randint(self.vocabulary, (batch_size, length), generator=generator)
        inputs[:, -1] = self.vocabulary
        targets = inputs.clone()
        targets[:, -1] = IGNORE
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """The symbols, which are also the answers."""
        symbols = " ".join(map(str, self.sample(1, self.length, generator).inputs[0, :-1].tolist()))
        return f"{symbols}  | -> one vector ->  {symbols}"
