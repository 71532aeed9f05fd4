"""Which item is in both lists? One list is short, the other long, and either may come first.

Source: Just read twice: closing the recall gap for recurrent language models (2024), arXiv 2407.05483.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

FIRST, SECOND, ASK, FIRST_ITEM = 0, 1, 2, 3
ORDERS = ("short_first", "long_first")


@dataclass(frozen=True)
class SetIntersection(Task):
    """``FIRST list SECOND list ASK``: two lists of distinct items with exactly one item in common, which is asked for
    at the last position.

    Whoever reads the short list first need remember no more than that while the long one goes by; whoever reads the
    long list first must remember all of it. A reader who knows the short list alone guesses right once in ``short``.

    Options:
        long: items of the longer list of a training example.
        short: items of the shorter one.
        vocabulary: number of different items.
        order: which list comes first: "short_first", "long_first", or "both", as often one as the other. Each is a
            slice.
        times: how often the lists are said, one after the other, before the question: with 2, each list is once read
            after the other whatever the order (JRT-Prompt).
        test_lengths: lengths to test at, by default 1 and about 2 and 4 times the training length, as far as the
            vocabulary reaches; another length is another long list, see :meth:`length_of`.
    """

    changes: ClassVar[Changes] = {"short": (8, 16), "long": (64, 96)}

    long: int = 48
    short: int = 4
    vocabulary: int = 256
    order: Literal["short_first", "long_first", "both"] = "both"
    times: int = 1
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        name = "set_intersection"
        for option in ("long", "short", "vocabulary", "times"):
            _check.integer(name, option, getattr(self, option), at_least=1)
        _check.choice(name, "order", self.order, (*ORDERS, "both"))
        most = self.vocabulary + 1 - self.short
        if not self.short <= self.long <= most:
            raise InputError(
                f"task '{name}': long={self.long} with short={self.short} of {self.vocabulary} items, expected "
                f"{self.short} to {most}"
            )
        items = [n * (self.long + 3 + self.short) - 3 - self.short for n in (1, 2, 4)]  # n times as many steps, or more
        lengths = self.test_lengths or [self.length_of(long) for long in items if long <= most]
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(name, lengths, self.train_length))
        for one in self.test_lengths:
            self._long_of(one)

    @property
    def vocab_size(self) -> int:
        return FIRST_ITEM + self.vocabulary

    @property
    def train_length(self) -> int:
        return self.length_of(self.long)

    @property
    def slices(self) -> tuple[str, ...]:
        return ORDERS if self.order == "both" else (self.order,)

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    def length_of(self, long: int) -> int:
        """Time steps of an example whose longer list has this many items."""
        return self.times * (2 + self.short + long) + 1

    def _long_of(self, length: int) -> int:
        long, rest = divmod(length - 1 - self.times * (2 + self.short), self.times)
        most = self.vocabulary + 1 - self.short
        if rest or not self.short <= long <= most:
            raise InputError(
                f"task 'set_intersection': length={length} fits no long list of {self.short} to {most} items, expected "
                f"times * (2 + short + items) + 1, such as {self.train_length}; see length_of(items)"
            )
        return long

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples whose long list is such that they have ``length`` steps."""
        _check.request("set_intersection", batch_size, length, generator, split)
        long = self._long_of(length)
        drawn = _draw.subsets(batch_size, self.short + long - 1, self.vocabulary, generator)
        items = FIRST_ITEM + _draw.shuffled(drawn, generator)  # (batch, short + long - 1), the first is in both lists
        short = _draw.shuffled(items[:, : self.short], generator)
        longer = _draw.shuffled(torch.cat([items[:, :1], items[:, self.short :]], 1), generator)
        groups = torch.zeros(batch_size, dtype=torch.int64)
        if self.order == "both":
            groups = _draw.in_turn(batch_size, 2, generator)
        told, other = self._told(short, longer), self._told(longer, short)
        told = other if self.order == "long_first" else torch.where(groups[:, None] == 0, told, other)
        inputs = torch.cat([told] * self.times + [torch.full((batch_size, 1), ASK)], 1)
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1] = items[:, 0]
        return Batch(inputs, targets, groups)

    def _told(self, first: Tensor, second: Tensor) -> Tensor:
        """Both lists, each behind its mark."""
        marks = (torch.full_like(first[:, :1], mark) for mark in (FIRST, SECOND))
        return torch.cat([next(marks), first, next(marks), second], 1)

    def example(self, generator: torch.Generator) -> str:
        """Items as numbers, a bar between the lists."""
        batch = self.sample(1, self.train_length, generator)
        words = {FIRST: "(", SECOND: "|", ASK: "?"}
        told = [words.get(token, str(token - FIRST_ITEM)) for token in batch.inputs[0].tolist()]
        return f"{' '.join(told)} -> {int(batch.targets[0, -1]) - FIRST_ITEM}"
