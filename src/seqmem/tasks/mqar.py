"""Multi-query associative recall: which value followed this key?

Source: Zoology: Measuring and Improving Recall in Efficient Language Models (2023), arXiv 2312.04927.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

BLANK = 0


@dataclass(frozen=True)
class MQAR(Task):
    """Key-value pairs, then every key once more, somewhere later; there the value that followed it is asked.

    With n pairs the sequence opens with ``k1 v1 ... kn vn``. What is left is cut into (length - 2n) / 2 slots of two
    positions; each key is asked in the first position of a slot of its own, slot x >= 1 with a probability proportional
    to ``x ** (power_a - 1)``. With the small default, about 1 / x, most queries come soon, and a few after a long gap.
    Token 0 is the blank, the keys come from the lower half of the vocabulary, the values from the upper half.

    Options:
        length: time steps of a training example, at least 4 per pair.
        pairs: how many pairs; with several numbers every batch mixes them evenly. Each is a slice, ``"pairs=8"``.
        vocabulary: number of tokens, the blank, keys and values together; 0: four times the most pairs, at least 32.
        power_a: exponent of the gaps' power law; 1 spreads the queries evenly.
        filler: what stands between the queries: ``"noise"``, random tokens other than the example's own keys (which
            are seen in their pair and in their query only), or ``"blank"``.
        distinct_values: within an example no value is given to two keys, as in Zoology; False draws them independently.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the pairs stay, the gaps grow.
    """

    changes: ClassVar[Changes] = {"pairs": (12, 16), "vocabulary": (128, 512), "length": (128, 256)}

    length: int = 64
    pairs: tuple[int, ...] = (2, 4, 8)
    vocabulary: int = 0
    power_a: float = 0.01
    filler: Literal["noise", "blank"] = "noise"
    distinct_values: bool = True
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pairs = _check.integers("mqar", "pairs", self.pairs, at_least=1)
        length = _check.integer("mqar", "length", self.length, at_least=1)
        if _check.integer("mqar", "vocabulary", self.vocabulary, at_least=0) == 0:
            object.__setattr__(self, "vocabulary", max(32, 4 * max(pairs)))
        _check.choice("mqar", "filler", self.filler, ("noise", "blank"))
        _check.boolean("mqar", "distinct_values", self.distinct_values)
        if max(pairs) > self._keys:  # there is always at least one value more
            raise InputError(
                f"task 'mqar': vocabulary={self.vocabulary} has {self._keys} keys, too few for {max(pairs)} pairs, "
                f"expected at least {2 * max(pairs) + 2} tokens; use fewer pairs or a larger vocabulary"
            )
        object.__setattr__(self, "pairs", pairs)
        object.__setattr__(self, "power_a", _check.positive("mqar", "power_a", self.power_a, at_most=10))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("mqar", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def _keys(self) -> int:
        """Keys are the tokens 1 to this number."""
        return self.vocabulary // 2 - 1

    @property
    def _first_value(self) -> int:
        """Values are the tokens from this number on."""
        return self.vocabulary // 2

    @property
    def _values(self) -> int:
        return self.vocabulary - self._first_value

    @property
    def vocab_size(self) -> int:
        return self.vocabulary

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"pairs={count}" for count in self.pairs)

    @property
    def chance(self) -> float:
        return 1 / self._values

    def _check_length(self, length: int) -> None:
        most = max(self.pairs)
        if length < 4 * most:
            raise InputError(
                f"task 'mqar': length={length} is too short for {most} pairs, expected at least {4 * most} "
                "(two tokens per pair and two per query); use fewer pairs or a greater length"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps. The number of pairs goes round ``pairs`` from row to
        row, from a random start."""
        _check.request("mqar", batch_size, length, generator, split)
        self._check_length(length)
        groups = _draw.in_turn(batch_size, len(self.pairs), generator)
        inputs = torch.empty(batch_size, length, dtype=torch.int64)
        targets = torch.empty(batch_size, length, dtype=torch.int64)
        for group, count in enumerate(self.pairs):
            rows = (groups == group).nonzero().squeeze(1)
            inputs[rows], targets[rows] = self._associations(len(rows), length, count, generator)
        return Batch(inputs, targets, groups)

    def _associations(self, rows: int, length: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets, (rows, length) each, of examples with ``count`` pairs."""
        keys = _draw.shuffled(1 + _draw.subsets(rows, count, self._keys, generator), generator)  # (rows, pair)
        if self.distinct_values:
            values = _draw.shuffled(self._first_value + _draw.subsets(rows, count, self._values, generator), generator)
        else:
            values = torch.randint(self._first_value, self.vocabulary, (rows, count), generator=generator)

        slot = torch.arange(1, (length - 2 * count) // 2 + 1, dtype=torch.float64)
        gaps = _draw.weighted(rows, count, slot ** (self.power_a - 1), generator)  # (rows, pair), from 0
        asked = 2 * count + 2 * gaps

        inputs = self._fill(rows, length, keys, generator)
        inputs[:, 0 : 2 * count : 2] = keys
        inputs[:, 1 : 2 * count : 2] = values
        inputs.scatter_(1, asked, keys)
        targets = torch.full((rows, length), IGNORE).scatter_(1, asked, values)
        return inputs, targets

    def _fill(self, rows: int, length: int, keys: Tensor, generator: torch.Generator) -> Tensor:
        """Filler for every position, (rows, length). Noise that hits a key of its example becomes a random value."""
        if self.filler == "blank":
            return torch.full((rows, length), BLANK)
        own = torch.zeros(rows, self.vocabulary, dtype=torch.bool).scatter_(1, keys, True)
        noise = torch.randint(self.vocabulary, (rows, length), generator=generator)
        values = torch.randint(self._first_value, self.vocabulary, (rows, length), generator=generator)
        return torch.where(own.gather(1, noise), values, noise)

    def example(self, generator: torch.Generator) -> str:
        """Keys as letters, values as numbers, filler as dots."""
        batch = self.sample(1, self.length, generator)
        inputs, targets = batch.inputs[0].tolist(), batch.targets[0].tolist()
        opening = 2 * self.pairs[int(batch.groups[0])] if batch.groups is not None else 0
        bindings = (
            f"{_letters(key)}={value - self._first_value}"
            for key, value in zip(inputs[:opening:2], inputs[1:opening:2], strict=True)
        )
        later = [
            "." if answer == IGNORE else f"{_letters(token)}? -> {answer - self._first_value}"
            for token, answer in zip(inputs[opening:], targets[opening:], strict=True)
        ]
        return f"{'  '.join(bindings)}  |  {' '.join(later)}"


def _letters(key: int) -> str:
    """A, B, ... Z, A1, B1, ... for keys 1, 2, ..."""
    lap, letter = divmod(key - 1, 26)
    return chr(ord("A") + letter) + (str(lap) if lap else "")
