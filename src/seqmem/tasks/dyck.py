"""Dyck: brackets of several kinds, well nested; which one closes now?

Source: Can Recurrent Neural Networks Learn Nested Recursion? (2018), Linguistic Issues in Language Technology 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

OPEN, CLOSED = "([{<", ")]}>"


@dataclass(frozen=True)
class Dyck(Task):
    """Strings of brackets that all close, nested at most ``depth`` deep; before every closing one its kind is asked.

    Token i opens and token ``pairs`` + i closes a bracket of kind i. The shapes, what opens and closes where, are
    uniform over all that fit, the kinds are uniform. A memory of constant size is enough for any length: a stack of
    ``depth`` kinds.

    Options:
        length: time steps of a training example, an even number.
        pairs: kinds of brackets.
        depth: most brackets that are open at once.
        test_lengths: lengths to test at, even numbers, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"pairs": (4, 8), "depth": (6, 8), "length": (40, 80)}

    length: int = 20
    pairs: int = 2
    depth: int = 4
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("dyck", "length", self.length, at_least=2)
        _check.integer("dyck", "pairs", self.pairs, at_least=2)
        _check.integer("dyck", "depth", self.depth, at_least=1)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("dyck", self.test_lengths, length))
        for one in self.test_lengths:
            _check_even(one)

    @property
    def vocab_size(self) -> int:
        return 2 * self.pairs

    @property
    def chance(self) -> float:
        return 1 / self.pairs

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh strings of ``length`` brackets, an even number. The target at t is the bracket at t + 1
        where that one closes."""
        _check.request("dyck", batch_size, length, generator, split)
        _check_even(length)
        return self.strings(self._shapes(batch_size, length, generator), generator)

    def strings(self, opens: Tensor, generator: torch.Generator) -> Batch:
        """Strings of these shapes, where a bracket opens, (batch, time) bool, of fresh kinds."""
        batch_size, length = opens.shape
        kinds = torch.randint(self.pairs, (batch_size, length), generator=generator)
        depth = opens.long().cumsum(1) - (~opens).long().cumsum(1)  # after each bracket
        inputs = torch.where(opens, kinds, self.pairs + kinds)
        stack = torch.zeros(batch_size, self.depth, dtype=torch.int64)  # the kinds that are open, outermost first
        for t in range(length):
            rows = opens[:, t].nonzero().squeeze(1)
            stack[rows, depth[rows, t] - 1] = kinds[rows, t]
            rows = (~opens[:, t]).nonzero().squeeze(1)
            inputs[rows, t] = self.pairs + stack[rows, depth[rows, t]]
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, :-1] = inputs[:, 1:].masked_fill(opens[:, 1:], IGNORE)
        return Batch(inputs, targets)

    def _shapes(self, rows: int, length: int, generator: torch.Generator) -> Tensor:
        """Where a bracket opens, (rows, length) bool, uniform over all shapes: a step up is taken as often as its share
        of the ways that lead back to 0."""
        ways = torch.zeros(
            length + 1, self.depth + 3, dtype=torch.float64
        )  # of `left` steps from depth d: [left, d + 1]
        ways[0, 1] = 1
        for left in range(1, length + 1):
            ways[left, 1:-1] = ways[left - 1, 2:] + ways[left - 1, :-2]
            ways[left] /= ways[left].sum()  # only shares are needed
        draws = torch.rand(rows, length, generator=generator, dtype=torch.float64)
        depth = torch.zeros(rows, dtype=torch.int64)
        opens = torch.empty(rows, length, dtype=torch.bool)
        for t in range(length):
            up, down = ways[length - t - 1, depth + 2], ways[length - t - 1, depth]
            opens[:, t] = draws[:, t] * (up + down) < up
            depth += torch.where(opens[:, t], 1, -1)
        return opens

    def example(self, generator: torch.Generator) -> str:
        """The brackets, and below them what was asked before each; numbers where there are more than four kinds."""
        batch = self.sample(1, self.length, generator)
        asked = [IGNORE, *batch.targets[0, :-1].tolist()]
        return (
            f"string  {' '.join(map(self._word, batch.inputs[0].tolist()))}\n"
            f"asked   {' '.join('.' if token == IGNORE else self._word(token) for token in asked)}"
        )

    def _word(self, token: int) -> str:
        return (OPEN[: self.pairs] + CLOSED[: self.pairs])[token] if self.pairs <= len(OPEN) else str(token)


def _check_even(length: int) -> None:
    if length % 2:
        raise InputError(f"task 'dyck': length={length} is odd, expected an even number: what opens must close")
