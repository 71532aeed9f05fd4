"""Reber's grammar: strings of a small automaton; which symbol closes the string, or does it follow the grammar at all?

Source: Implicit Learning of Artificial Grammars (1967), Journal of Verbal Learning and Verbal Behavior 6; embedded, as
in Long Short-Term Memory (1997), Neural Computation 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

SYMBOLS = "BTSXPVE"
B, T, S, X, P, V, E = range(7)
NO, YES = 7, 8
ASKS = ("close", "valid")

#: state -> its two arcs (symbol, next state), taken equally often; state 0 begins, state 7 is the end
GRAMMAR: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = (
    ((B, 1), (B, 1)),
    ((T, 2), (P, 3)),
    ((S, 2), (X, 4)),
    ((T, 3), (V, 5)),
    ((X, 3), (S, 6)),
    ((P, 4), (V, 6)),
    ((E, 7), (E, 7)),
)
END, DEAD = 7, 8
SHORTEST = 5  # B T X S E


@dataclass(frozen=True)
class Reber(Task):
    """Strings of exactly ``length`` symbols, as often as the grammar makes them.

    Embedded: B, T or P, a whole string of the grammar, the same T or P again, E. ``ask="close"``: what comes after the
    inner string, T or P? It is asked at the inner E, and the answer was read at the second position. ``ask="valid"``:
    in every second string, on average, one symbol is another, so that the string is none of the grammar; whether it is
    one is asked at the end, token 8 for yes and 7 for no. Tokens 0 to 6 are B T S X P V E.

    Options:
        length: time steps of a training example; at least 5, embedded 9.
        embedded: whether the string stands within another; without, only ``ask="valid"`` can be asked.
        ask: "close" or "valid".
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    changes: ClassVar[Changes] = {"ask": ("valid",), "length": (40, 80)}

    length: int = 20
    embedded: bool = True
    ask: Literal["close", "valid"] = "close"
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("reber", "length", self.length, at_least=1)
        _check.boolean("reber", "embedded", self.embedded)
        _check.choice("reber", "ask", self.ask, ASKS)
        if self.ask == "close" and not self.embedded:
            raise InputError(
                "task 'reber': ask='close' needs embedded=True: a plain string has no symbol that closes it"
            )
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("reber", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    def _check_length(self, length: int) -> None:
        least = SHORTEST + 4 * self.embedded
        if length < least:
            raise InputError(f"task 'reber': length={length} is too short, expected at least {least}")

    @property
    def vocab_size(self) -> int:
        return len(SYMBOLS) if self.ask == "close" else YES + 1

    @property
    def chance(self) -> float:
        return 0.5

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh strings of ``length`` symbols."""
        _check.request("reber", batch_size, length, generator, split)
        self._check_length(length)
        strings = _strings(batch_size, length - 4 * self.embedded, generator)
        if self.embedded:
            around = torch.where(torch.rand(batch_size, 1, generator=generator) < 0.5, T, P)
            begin, end = torch.full_like(around, B), torch.full_like(around, E)
            strings = torch.cat([begin, around, strings, around, end], 1)
        targets = torch.full((batch_size, length), IGNORE)
        if self.ask == "close":
            targets[:, -3] = strings[:, -2]
            return Batch(strings, targets)
        other = torch.rand(batch_size, generator=generator) < 0.5
        strings[other] = self._spoilt(strings[other], generator)
        targets[:, -1] = torch.where(other, NO, YES)
        return Batch(strings, targets)

    def _spoilt(self, strings: Tensor, generator: torch.Generator) -> Tensor:
        """One symbol of each string changed, so that it is none any more."""
        rows = torch.arange(len(strings))
        place = torch.randint(strings.shape[1], (len(strings),), generator=generator)
        changed = strings[:, None].repeat(1, len(SYMBOLS), 1)  # (batch, symbol, time)
        changed[rows, :, place] = torch.arange(len(SYMBOLS))
        wrong = ~follows(changed.flatten(0, 1), embedded=self.embedded).view(len(strings), len(SYMBOLS))
        draws = torch.rand(wrong.shape, generator=generator, dtype=torch.float64).masked_fill(~wrong, -1)
        return changed[rows, draws.argmax(1)]

    def example(self, generator: torch.Generator) -> str:
        """The string, and the answer."""
        batch = self.sample(1, self.length, generator)
        word = "".join(SYMBOLS[token] for token in batch.inputs[0].tolist())
        if self.ask == "close":
            return f"{word[:-2]}? ->  {word[-2]}"
        return f"{word}? ->  {'yes' if batch.targets[0, -1] == YES else 'no'}"


def follows(strings: Tensor, *, embedded: bool = True) -> Tensor:
    """Whether strings (batch, time) of symbols 0 to 6 follow the grammar, whole; (batch,) bool."""
    fine = torch.ones(len(strings), dtype=torch.bool)
    if embedded:
        if strings.shape[1] < SHORTEST + 4:
            return ~fine
        around = (strings[:, 1] == T) | (strings[:, 1] == P)
        fine = (strings[:, 0] == B) & around & (strings[:, -2] == strings[:, 1]) & (strings[:, -1] == E)
        strings = strings[:, 2:-2]
    table = torch.full((DEAD + 1, len(SYMBOLS)), DEAD)
    for before, arcs in enumerate(GRAMMAR):
        for symbol, after in arcs:
            table[before, symbol] = after
    state = torch.zeros(len(strings), dtype=torch.int64)
    for symbols in strings.unbind(1):
        state = table[state, symbols]
    return fine & (state == END)


def _strings(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Strings (rows, length) of the grammar, given that they end after ``length``: an arc is taken as often as its
    share of the probability of ending in time."""
    symbols, after = torch.tensor(GRAMMAR).unbind(2)  # (state, arc) each
    ends = torch.zeros(length + 1, END + 1, dtype=torch.float64)  # probability of the end after `left` steps, scaled
    ends[0, END] = 1
    for left in range(1, length + 1):
        ends[left, :END] = ends[left - 1][after].mean(1)
        ends[left] /= ends[left].sum()
    draws = torch.rand(rows, length, generator=generator, dtype=torch.float64)
    state, found = torch.zeros(rows, dtype=torch.int64), torch.empty(rows, length, dtype=torch.int64)
    for t in range(length):
        first, second = ends[length - t - 1][after[state]].unbind(1)
        arc = (draws[:, t] * (first + second) >= first).long()
        found[:, t], state = symbols[state, arc], after[state, arc]
    return found
