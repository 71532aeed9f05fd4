"""In-context recall among noise: which value has this key, when tokens that mean nothing stand between?

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its noisy in-context recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Split, Task


@dataclass(frozen=True)
class NoisyRecall(Task):
    """Pairs of a key and its value, the same keys again and again, with noise between the pairs.

    Every example has its own values. A key that comes again is asked for its value, which the next token tells. Noise
    has tokens of its own, so that it can be known from what matters; without it this is plain in-context recall.

    Options:
        length: time steps of a training example.
        keys: number of different keys.
        values: number of different values.
        noise: the share of positions with noise, 0 up to (not including) 1.
        noise_tokens: number of different noise tokens.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there are then more pairs, not more
            keys.
    """

    length: int = 64
    keys: int = 8
    values: int = 8
    noise: float = 0.2
    noise_tokens: int = 16
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("noisy_recall", "length", self.length, at_least=1)
        _check.integer("noisy_recall", "keys", self.keys, at_least=1)
        _check.integer("noisy_recall", "values", self.values, at_least=2)
        _check.integer("noisy_recall", "noise_tokens", self.noise_tokens, at_least=1)
        if isinstance(self.noise, bool) or not isinstance(self.noise, int | float) or not 0 <= self.noise < 1:
            raise InputError(f"task 'noisy_recall': noise={self.noise!r}, expected a number from 0 to below 1")
        object.__setattr__(self, "noise", float(self.noise))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("noisy_recall", self.test_lengths, length))
        for one in self.test_lengths:
            self._pairs(one)

    @property
    def vocab_size(self) -> int:
        return self.keys + self.values + self.noise_tokens

    @property
    def train_length(self) -> int:
        return self.length

    @property
    def chance(self) -> float:
        return 1 / self.values

    def _pairs(self, length: int) -> int:
        """Pairs in ``length`` steps; more than there are keys, so that one at least comes again."""
        pairs = int((1 - self.noise) * length / 2)
        if pairs <= self.keys:
            raise InputError(
                f"task 'noisy_recall': length={length} with noise={self.noise:g} has {pairs} pairs, expected more than "
                f"the {self.keys} keys; use fewer keys, less noise or a greater length"
            )
        return pairs

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("noisy_recall", batch_size, length, generator, split)
        pairs = self._pairs(length)
        keys = torch.randint(self.keys, (batch_size, pairs), generator=generator)
        value_of = self.keys + torch.randint(self.values, (batch_size, self.keys), generator=generator)
        values = value_of.gather(1, keys)  # (batch, pair)
        again = (keys[:, :, None] == keys[:, None, :]).tril(-1).any(2)

        parts = length - pairs  # pairs and single noise tokens, in any order
        order = torch.rand(batch_size, parts, generator=generator, dtype=torch.float64).argsort(1)
        is_pair = order < pairs
        begin = (1 + is_pair.long()).cumsum(1) - 1 - is_pair.long()  # of every part
        place = begin[is_pair].view(batch_size, pairs)
        noise = torch.randint(self.noise_tokens, (batch_size, length), generator=generator)
        inputs = self.keys + self.values + noise
        inputs.scatter_(1, place, keys).scatter_(1, place + 1, values)
        targets = torch.full((batch_size, length), IGNORE)
        return Batch(inputs, targets.scatter_(1, place, values.masked_fill(~again, IGNORE)))

    def example(self, generator: torch.Generator) -> str:
        """Keys as letters, values as numbers, noise as dots; a question mark where a value is asked."""
        batch = self.sample(1, self.length, generator)
        words = []
        for token, target in zip(batch.inputs[0].tolist(), batch.targets[0].tolist(), strict=True):
            if token < self.keys:
                letter = chr(ord("A") + token) if self.keys <= 26 else f"k{token}"
                words.append(letter if target == IGNORE else f"{letter}?")
            else:
                words.append(str(token - self.keys) if token < self.keys + self.values else ".")
        return " ".join(words)
