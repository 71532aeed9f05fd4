"""Memory horizon: what is the sum of the numbers read since the last reset?

After the task of GateLoop: Fully Data-Controlled Linear Recurrence for Sequence Modeling (2023), arXiv 2311.01927, in
which the answer at every step is a function of what was read since the last reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import Batch, Changes, Split, Task


@dataclass(frozen=True)
class MemoryHorizon(Task):
    """Numbers, and now and then a reset; at every step the sum since the last reset is asked, but never more than
    ``most``.

    How far back the answer reaches is said by the data alone: a memory must keep everything until a reset, and nothing
    after it. The number n is token n, the reset is token ``numbers``; at it the answer is 0.

    Options:
        length: time steps of a training example.
        numbers: numbers are 0 to this, less one.
        most: the largest answer, at least 1.
        reset_every: mean distance of resets; each step is one with probability 1 / reset_every.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"reset_every": (24.0, 48.0), "numbers": (20,), "length": (128, 256)}

    length: int = 64
    numbers: int = 10
    most: int = 50
    reset_every: float = 12.0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("memory_horizon", "length", self.length, at_least=1)
        _check.integer("memory_horizon", "numbers", self.numbers, at_least=2)
        _check.integer("memory_horizon", "most", self.most, at_least=1)
        every = self.reset_every
        if isinstance(every, bool) or not isinstance(every, int | float) or not 1 < every < float("inf"):
            raise InputError(f"task 'memory_horizon': reset_every={every!r}, expected a number above 1")
        object.__setattr__(self, "reset_every", float(every))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("memory_horizon", self.test_lengths, length))

    @property
    def vocab_size(self) -> int:
        return max(self.numbers, self.most) + 1

    @property
    def chance(self) -> float:
        """Of the likeliest answer at every step: the chain of the capped sum, from 0."""
        law = torch.zeros(self.most + 1, dtype=torch.float64)
        law[0] = 1
        likeliest = []
        for _ in range(self.length):
            after = torch.zeros_like(law)
            for number in range(self.numbers):
                kept = max(0, self.most + 1 - number)
                after[number:] += law[:kept]
                after[self.most] += law[kept:].sum()
            law = after * (1 - 1 / self.reset_every) / self.numbers
            law[0] += 1 / self.reset_every
            likeliest.append(law.max())
        return float(torch.stack(likeliest).mean())

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("memory_horizon", batch_size, length, generator, split)
        inputs = torch.randint(self.numbers, (batch_size, length), generator=generator)
        reset = torch.rand(batch_size, length, generator=generator, dtype=torch.float64) < 1 / self.reset_every
        total = inputs.masked_fill(reset, 0).cumsum(1)
        before = torch.where(reset, total, 0).cummax(1).values  # the total at the last reset; totals do not fall
        return Batch(inputs.masked_fill(reset, self.numbers), (total - before).clamp(max=self.most))

    def example(self, generator: torch.Generator) -> str:
        """The numbers, resets as a bar, and under each the answer."""
        batch = self.sample(1, self.length, generator)
        read = ["|" if token == self.numbers else str(token) for token in batch.inputs[0].tolist()]
        said = [str(answer) for answer in batch.targets[0].tolist()]
        wide = max(map(len, [*read, *said]))
        return "\n".join(
            f"{name}  {' '.join(one.rjust(wide) for one in row)}" for name, row in (("read", read), ("sum ", said))
        )
