"""In-context recall: which value has this key in this example?

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its in-context recall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task


@dataclass(frozen=True)
class InContextRecall(Task):
    """Pairs of a key and its value, the same keys again and again.

    Every example has its own values. A key that comes again is asked for its value, which the next token tells; how far
    back it last came is left to chance. A key that has not come before is not asked.

    Options:
        length: time steps of a training example.
        keys: number of different keys.
        values: number of different values.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there are then more pairs, not more
            keys.
    """

    name: ClassVar[str] = "in_context_recall"
    changes: ClassVar[Changes] = {"keys": (12, 16, 24), "values": (16, 32, 64), "length": (128, 256)}

    length: int = 64
    keys: int = 8
    values: int = 8
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer(self.name, "length", self.length, at_least=1)
        _check.integer(self.name, "keys", self.keys, at_least=1)
        _check.integer(self.name, "values", self.values, at_least=2)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(self.name, self.test_lengths, length))
        for one in self.test_lengths:
            self._pairs(one)

    @property
    def _share_of_noise(self) -> float:
        return 0.0

    @property
    def _noise_tokens(self) -> int:
        """Kinds of noise, which are tokens behind the values; one position may be left over without any."""
        return 1

    @property
    def vocab_size(self) -> int:
        return self.keys + self.values + self._noise_tokens

    @property
    def chance(self) -> float:
        return 1 / self.values

    def _pairs(self, length: int) -> int:
        """Pairs in ``length`` steps; more than there are keys, so that one at least comes again."""
        noise = self._share_of_noise
        pairs = int((1 - noise) * length / 2)
        if pairs <= self.keys:
            noisy, less = (f" with noise={noise:g}", ", less noise") if noise else ("", "")
            raise InputError(
                f"task '{self.name}': length={length}{noisy} has {pairs} pairs, expected more than "
                f"the {self.keys} keys; use fewer keys{less} or a greater length"
            )
        return pairs

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request(self.name, batch_size, length, generator, split)
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
        noise = torch.randint(self._noise_tokens, (batch_size, length), generator=generator)
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
