"""Fifteen tasks on strings, sorted by the machine that they ask for.

Source: Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._chomsky import KINDS
from seqmem.tasks._chomsky.kind import Kind
from seqmem.tasks.base import IGNORE, Batch, Split, Task


@dataclass(frozen=True)
class Chomsky(Task):
    """A string is read, then as many steps ask for the answer, symbol by symbol.

    Where the answer's length is not that of the string alone (stacks, sums, products), it ends with an end token, and
    nothing is asked after it. Steps that are left over stand at the end and ask for nothing.

    Options:
        kind: the task. Regular: even_pairs, parity_check, cycle_navigation, modular_arithmetic. Deterministic
            context-free: stack_manipulation, reverse_string, modular_arithmetic_brackets, solve_equation.
            Context-sensitive: duplicate_string, missing_duplicate, odds_first, binary_addition,
            binary_multiplication, compute_sqrt, bucket_sort.
        length: time steps of a training example, string and answer together.
        vary: training strings have any length up to the longest that fits, drawn anew for every batch; validation and
            test strings always have the longest. False: training strings too.
        every_prefix: what was read so far is asked for at every step of the string, where it is a string of the task
            itself; of the regular tasks only. State tracking is learned much sooner so.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    kind: str = "even_pairs"
    length: int = 40
    vary: bool = True
    every_prefix: bool = False
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check.choice("chomsky", "kind", self.kind, list(KINDS))
        length = _check.integer("chomsky", "length", self.length, at_least=1)
        _check.boolean("chomsky", "vary", self.vary)
        if _check.boolean("chomsky", "every_prefix", self.every_prefix) and self._kind.running is None:
            able = ", ".join(name for name, kind in KINDS.items() if kind.running)
            raise InputError(
                f"task 'chomsky': every_prefix=True with kind='{self.kind}', whose prefixes have no answer, expected "
                f"one of {able}; leave every_prefix out"
            )
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("chomsky", self.test_lengths, length))
        for one in self.test_lengths:
            self._longest(one)

    @property
    def _kind(self) -> Kind:
        return KINDS[self.kind]

    @property
    def level(self) -> str:
        """ "regular", "context-free" or "context-sensitive"."""
        return self._kind.level

    @property
    def vocab_size(self) -> int:
        return len(self._kind.symbols) + 1

    @property
    def ask(self) -> int:
        """The token of a step that asks."""
        return len(self._kind.symbols)

    @property
    def chance(self) -> float:
        """1 / the number of possible symbols; end tokens, which a blind guess gets wrong, not counted."""
        return self._kind.chance

    def steps_of(self, size: int) -> int:
        """Time steps of a string of ``size`` symbols with its longest answer."""
        return size + self._kind.answer(size)

    def _longest(self, length: int) -> int:
        """Of the strings that fit, with their answers, into so many steps."""
        if (longest := self._kind.longest(length)) is None:
            raise InputError(
                f"task 'chomsky': length={length} is too short for {self.kind}, expected at least "
                f"{self.steps_of(self._kind.least)}"
            )
        return longest

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, all with strings of one length."""
        _check.request("chomsky", batch_size, length, generator, split)
        size = self._longest(length)
        if self.vary and split == "train":
            sizes = range(self._kind.least, size + 1, self._kind.stride)
            size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        strings, answers = self._kind.draw(batch_size, size, generator)
        inputs = torch.full((batch_size, length), self.ask)
        targets = torch.full((batch_size, length), IGNORE)
        inputs[:, :size] = strings
        targets[:, size : size + answers.shape[1]] = answers
        if self.every_prefix and self._kind.running:
            targets[:, :size] = self._kind.running(strings)
        return Batch(inputs, targets)

    def example(self, generator: torch.Generator) -> str:
        """The string, and the answer."""
        size = min(self._longest(self.length), self._kind.least + 4 * self._kind.stride)
        string, answer = self._kind.draw(1, size, generator)
        return f"{self._written(string)}  ->  {self._written(answer)}"

    def _written(self, tokens: Tensor) -> str:
        return " ".join(self._kind.symbols[token] for token in tokens[0].tolist() if token != IGNORE)
