"""Fuzzy in-context recall: which value has this key, when keys and values are several tokens long, some more, some
fewer?

Source: Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, its fuzzy in-context recall. A
token between key and value, which the paper does not have, says where a key ends; so the answer is always certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._packing import at_the_end, that_fit
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

BLANK, ASK, FIRST_KEY = range(3)


@dataclass(frozen=True)
class FuzzyRecall(Task):
    """Keys of 1 to ``key_size`` tokens, each followed by an asking token and its value of 1 to ``value_size`` tokens.

    The same keys come again and again, with values of the example's own. When a key comes again every token of its
    value is asked, one step before it is read. Keys share their tokens, so that only all of a key, in its order and to
    its end, says which value is meant. Blanks fill up the beginning.

    Options:
        length: time steps of a training example.
        keys: number of different keys in an example.
        key_tokens: number of tokens that keys are made of, at least ``keys``.
        value_tokens: number of tokens that values are made of.
        key_size: tokens of the longest key.
        value_size: tokens of the longest value.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there are then more pairs, not more
            keys.
    """

    changes: ClassVar[Changes] = {
        "keys": (6, 8), "key_size": (4, 5), "value_size": (4, 5), "value_tokens": (16, 32), "length": (256, 512),
    }  # fmt: skip

    length: int = 128
    keys: int = 4
    key_tokens: int = 8
    value_tokens: int = 8
    key_size: int = 3
    value_size: int = 3
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("fuzzy_recall", "length", self.length, at_least=1)
        for option, least in (("keys", 1), ("key_tokens", 1), ("value_tokens", 2), ("key_size", 1), ("value_size", 1)):
            _check.integer("fuzzy_recall", option, getattr(self, option), at_least=least)
        if self.key_tokens < self.keys:
            raise InputError(
                f"task 'fuzzy_recall': key_tokens={self.key_tokens}, expected at least keys={self.keys}, so that even "
                "keys of one token differ; use fewer keys or more tokens"
            )
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("fuzzy_recall", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def _longest(self) -> int:
        """Steps of the longest pair."""
        return self.key_size + 1 + self.value_size

    @property
    def vocab_size(self) -> int:
        return FIRST_KEY + self.key_tokens + self.value_tokens

    @property
    def chance(self) -> float:
        return 1 / self.value_tokens

    def _check_length(self, length: int) -> None:
        if length < (self.keys + 1) * self._longest:
            raise InputError(
                f"task 'fuzzy_recall': length={length}, expected at least {(self.keys + 1) * self._longest}: room for "
                f"one pair more, of {self._longest} steps at most, than there are keys; use fewer or shorter keys"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("fuzzy_recall", batch_size, length, generator, split)
        self._check_length(length)
        rows, most = batch_size, length // 3  # a pair has three steps or more
        keys, key_sizes = self._motifs(rows, self.key_tokens, self.key_size, generator, distinct=True)
        values, value_sizes = self._motifs(rows, self.value_tokens, self.value_size, generator, distinct=False)
        keys, values = keys + FIRST_KEY, values + FIRST_KEY + self.key_tokens
        which = torch.randint(self.keys, (rows, most), generator=generator)  # the key of every pair
        again = (which[:, :, None] == which[:, None, :]).tril(-1).any(2)

        ask = torch.full((rows, self.keys, 1), ASK)
        pairs = _of(torch.cat([keys, ask, values], 2), which)  # (rows, pair, step)
        present = torch.cat([_within(key_sizes, self.key_size), ask == ASK, _within(value_sizes, self.value_size)], 2)
        present = _of(present, which)
        present = that_fit(present, length)
        inputs = at_the_end(pairs, present, length, BLANK)
        # every step is a read token of the value and, one step before, an answer
        tokens = at_the_end(pairs.masked_fill(~again[:, :, None], IGNORE), present, length, IGNORE)
        is_value = inputs >= FIRST_KEY + self.key_tokens
        targets = torch.full((rows, length), IGNORE)
        targets[:, :-1] = tokens[:, 1:].masked_fill(~is_value[:, 1:], IGNORE)
        return Batch(inputs, targets)

    def _motifs(
        self, rows: int, tokens: int, size: int, generator: torch.Generator, *, distinct: bool
    ) -> tuple[Tensor, Tensor]:
        """For every key a string over ``tokens``: (rows, keys, size), and how much of it counts, (rows, keys)."""
        sizes = torch.randint(1, size + 1, (rows, self.keys), generator=generator)
        code = torch.empty(rows, self.keys, dtype=torch.int64)
        for one in range(1, size + 1):  # strings of one size differ, strings of two sizes do anyway
            if distinct:
                drawn = _draw.subsets(rows, self.keys, tokens**one, generator)
            else:
                drawn = torch.randint(tokens**one, (rows, self.keys), generator=generator)
            code = torch.where(sizes == one, drawn, code)
        digits = [code.div(tokens**place, rounding_mode="floor") % tokens for place in range(size)]
        return torch.stack(digits, 2), sizes

    def example(self, generator: torch.Generator) -> str:
        """Keys as letters, values as numbers, a question mark where a known value is asked."""
        batch = self.sample(1, self.length, generator)
        shown = []
        for token, target in zip(batch.inputs[0].tolist(), batch.targets[0].tolist(), strict=True):
            if token == ASK:
                shown.append("=" if target == IGNORE else "?")
            elif token >= FIRST_KEY + self.key_tokens:
                shown.append(f"{token - FIRST_KEY - self.key_tokens}" + (" " if target == IGNORE else "."))
            elif token != BLANK:
                shown.append(chr(ord("A") + token - FIRST_KEY) if self.key_tokens <= 26 else f"k{token - FIRST_KEY}")
        return "".join(shown).strip()


def _of(motifs: Tensor, which: Tensor) -> Tensor:
    """motifs (rows, keys, step), which (rows, pair) -> (rows, pair, step)."""
    return motifs.gather(1, which[:, :, None].expand(-1, -1, motifs.shape[2]))


def _within(sizes: Tensor, size: int) -> Tensor:
    """(rows, keys) -> (rows, keys, size): True at the first of every so many."""
    return torch.arange(size) < sizes[:, :, None]
