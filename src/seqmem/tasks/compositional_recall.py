"""Compositional associative recall: which value followed this pair of tokens, neither of which says it alone?

Source: the compositional variant of multi-query associative recall that Zoology's authors keep beside it; Zoology
(2023), arXiv 2312.04927.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

BLANK = 0


@dataclass(frozen=True)
class CompositionalRecall(Task):
    """``a1 b1 v1  a1 b2 v2  a2 b1 v3  ...``: a value for every pair out of ``side`` first and ``side`` second tokens;
    then every pair once more, somewhere among blanks, and its value is asked at its second token.

    Every first token stands with ``side`` values, and so does every second one: a model that binds a value to one token
    of its key is right one time in ``side`` at best, among the values of that token.

    Options:
        length: time steps of a training example, at least 6 for each of the side * side pairs.
        side: first tokens, and second tokens, in an example.
        vocabulary: number of different first tokens, of second tokens and of values, each; at least ``side`` squared,
            because no value comes twice.
        power_a: exponent of the gaps' power law, as in ``mqar``; 1 spreads the queries evenly.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the pairs stay, the gaps grow.
    """

    changes: ClassVar[Changes] = {"side": (3,), "vocabulary": (32, 64), "length": (128, 256)}

    length: int = 64
    side: int = 2
    vocabulary: int = 16
    power_a: float = 0.01
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("compositional_recall", "length", self.length, at_least=1)
        side = _check.integer("compositional_recall", "side", self.side, at_least=2)
        _check.integer("compositional_recall", "vocabulary", self.vocabulary, at_least=side * side)
        object.__setattr__(
            self, "power_a", _check.positive("compositional_recall", "power_a", self.power_a, at_most=10)
        )
        lengths = _check.lengths_to_test("compositional_recall", self.test_lengths, length)
        object.__setattr__(self, "test_lengths", lengths)
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def vocab_size(self) -> int:
        """The blank, first tokens, second tokens, values."""
        return 1 + 3 * self.vocabulary

    @property
    def chance(self) -> float:
        return 1 / self.vocabulary

    @property
    def one_token_accuracy(self) -> float:
        """What the best reader scores that knows one token of the key only: a guess among that token's values."""
        return 1 / self.side

    def _check_length(self, length: int) -> None:
        least = 6 * self.side**2
        if length < least:
            raise InputError(
                f"task 'compositional_recall': length={length} is too short for side={self.side}, expected at least "
                f"{least} (three tokens per pair and three per query); use a smaller side or a greater length"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("compositional_recall", batch_size, length, generator, split)
        self._check_length(length)
        rows, side, pairs, tokens = batch_size, self.side, self.side**2, self.vocabulary

        def some(count: int, first: int) -> Tensor:
            return first + _draw.shuffled(_draw.subsets(rows, count, tokens, generator), generator)

        firsts, seconds, values = some(side, 1), some(side, 1 + tokens), some(pairs, 1 + 2 * tokens)
        order = _draw.shuffled(torch.arange(pairs).expand(rows, -1), generator)
        a, b = firsts.gather(1, order // side), seconds.gather(1, order % side)  # (rows, pair)
        slot = torch.arange(1, (length - 3 * pairs) // 3 + 1, dtype=torch.float64)
        asked = 3 * pairs + 3 * _draw.weighted(rows, pairs, slot ** (self.power_a - 1), generator)

        inputs = torch.full((rows, length), BLANK)
        inputs[:, : 3 * pairs] = torch.stack([a, b, values], 2).flatten(1)
        inputs.scatter_(1, asked, a).scatter_(1, asked + 1, b)
        return Batch(inputs, torch.full((rows, length), IGNORE).scatter_(1, asked + 1, values))

    def example(self, generator: torch.Generator) -> str:
        """First tokens as capitals, second ones as small letters, values as numbers, blanks as dots."""
        batch, tokens = self.sample(1, self.length, generator), self.vocabulary
        inputs, targets = batch.inputs[0].tolist(), batch.targets[0].tolist()

        def shown(t: int) -> str:
            kind, number = divmod(inputs[t] - 1, tokens)
            if inputs[t] == BLANK:
                return "."
            word = str(number) if kind == 2 else f"{'Aa'[kind]}{number}"
            return word if targets[t] == IGNORE else f"{word}? -> {targets[t] - 1 - 2 * tokens}"

        opening = 3 * self.side**2
        told = "  ".join(f"{shown(t)} {shown(t + 1)} = {shown(t + 2)}" for t in range(0, opening, 3))
        return f"{told}  |  {' '.join(shown(t) for t in range(opening, len(inputs)))}"
