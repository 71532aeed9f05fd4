"""The adding problem: two of many numbers are marked; what is their sum?

Source: Long Short-Term Memory (1997), Neural Computation 9(8), section 5.4; in the form of A Simple Way to Initialize
Recurrent Networks of Rectified Linear Units (2015), arXiv 1504.00941.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


class Sums(NamedTuple):
    """inputs: (batch, time, 2) float32, a number in [0, 1) and its mark, 0 or 1. sums: (batch,) float32."""

    inputs: Tensor
    sums: Tensor


@dataclass(frozen=True)
class Adding(Task):
    """A number at every step, one of them marked in each half; at the end the sum of the two marked ones is asked.

    Here numbers are whole, and tokens: number n is token n, a marked one is token ``numbers`` + n, and the answer is
    the token of the sum. :meth:`vectors` has the same in real numbers, for models that read vectors and answer with one
    number.

    Options:
        length: time steps of a training example, at least 2.
        numbers: numbers are 0 to this, less one.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    #: mean squared error of the constant answer 1 to :meth:`vectors`, the variance of a sum of two uniform numbers
    blind_error: ClassVar[float] = 1 / 6
    changes: ClassVar[Changes] = {"numbers": (20, 50), "length": (128, 256)}

    length: int = 64
    numbers: int = 10
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("adding", "length", self.length, at_least=2)
        _check.integer("adding", "numbers", self.numbers, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("adding", self.test_lengths, length))
        for one in self.test_lengths:
            _check.integer("adding", "length", one, at_least=2)

    @property
    def vocab_size(self) -> int:
        return 2 * self.numbers

    @property
    def chance(self) -> float:
        """Of the likeliest sum, ``numbers`` - 1: it comes about in as many of numbers^2 ways as there are numbers."""
        return 1 / self.numbers

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, at least 2."""
        _check.request("adding", batch_size, length, generator, split)
        _check.integer("adding", "length", length, at_least=2)
        inputs = torch.randint(self.numbers, (batch_size, length), generator=generator)
        marked = _marked(batch_size, length, generator)
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1:] = inputs.gather(1, marked).sum(1, keepdim=True)
        return Batch(inputs.scatter_add_(1, marked, torch.full_like(marked, self.numbers)), targets)

    def vectors(self, batch_size: int, length: int, generator: torch.Generator) -> Sums:
        """The same in real numbers, uniform in [0, 1); what to beat is a mean squared error of 1/6
        (:attr:`blind_error`)."""
        _check.request("adding", batch_size, length, generator, "train")
        _check.integer("adding", "length", length, at_least=2)
        numbers = torch.rand(batch_size, length, generator=generator, dtype=torch.float64).float()
        marked = _marked(batch_size, length, generator)
        marks = torch.zeros(batch_size, length).scatter_(1, marked, 1.0)
        return Sums(torch.stack([numbers, marks], 2), numbers.gather(1, marked).sum(1))

    def example(self, generator: torch.Generator) -> str:
        """The numbers; marked ones have a star."""
        batch = self.sample(1, self.length, generator)
        words = [f"{n - self.numbers}*" if n >= self.numbers else str(n) for n in batch.inputs[0].tolist()]
        return f"{' '.join(words)} -> {int(batch.targets[0, -1])}"


def _marked(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """(rows, 2): a step of the first half, a step of the second."""
    half = length // 2
    first = torch.randint(half, (rows, 1), generator=generator)
    return torch.cat([first, torch.randint(half, length, (rows, 1), generator=generator)], 1)
