"""Turing machines with one tape that is blank in both directions, and a simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from seqmem.errors import InputError

Move = Literal["L", "R"]


@dataclass(frozen=True)
class Configuration:
    """The cells visited so far, the head's place among them, and the machine's state."""

    tape: tuple[str, ...]
    head: int
    state: str


@dataclass(frozen=True)
class TuringMachine:
    """``rules``: (state, symbol read) -> (symbol written, "L" or "R", next state); it halts where there is none.

    Raises InputError for a move that is neither.
    """

    rules: Mapping[tuple[str, str], tuple[str, Move, str]]
    start: str
    blank: str = "0"

    def __post_init__(self) -> None:
        for key, (_, move, _) in self.rules.items():
            if move not in ("L", "R"):
                raise InputError(f"the move of rule {key} is {move!r}, expected 'L' or 'R'")

    @property
    def states(self) -> list[str]:
        """All states, those that only halt among them, in alphabetical order."""
        return sorted({self.start} | {state for state, _ in self.rules} | {rule[2] for rule in self.rules.values()})

    @property
    def symbols(self) -> list[str]:
        """All tape symbols, in alphabetical order."""
        return sorted({self.blank} | {symbol for _, symbol in self.rules} | {rule[0] for rule in self.rules.values()})

    def run(self, tape: Sequence[str] = (), steps: int = 10_000) -> Iterator[Configuration]:
        """The configurations from the first, with the head on the first cell, until it halts or ``steps`` are taken."""
        cells, head, state = list(tape) or [self.blank], 0, self.start
        yield Configuration(tuple(cells), head, state)
        for _ in range(steps):
            rule = self.rules.get((state, cells[head]))
            if rule is None:
                return
            cells[head], move, state = rule
            head += 1 if move == "R" else -1
            if head < 0:
                cells.insert(0, self.blank)
                head = 0
            elif head == len(cells):
                cells.append(self.blank)
            yield Configuration(tuple(cells), head, state)


def _machine(start: str, **states: str) -> TuringMachine:
    """``A="1RB 1LH"``: what state A does on reading "0", then on reading "1"; ``---`` halts."""
    return TuringMachine(
        {
            (state, str(symbol)): (word[0], word[1], word[2])  # type: ignore[misc]
            for state, words in states.items()
            for symbol, word in enumerate(words.split())
            if word != "---"
        },
        start,
    )


#: Machines on the symbols 0 (blank) and 1. The busy beavers write as many ones as any of their size that halts.
MACHINES: dict[str, TuringMachine] = {
    "increment": _machine("A", A="1RH 0RA"),  # adds one to a binary number whose lowest digit stands first
    "busy-beaver-2": _machine("A", A="1RB 1LB", B="1LA 1RH"),
    "busy-beaver-3": _machine("A", A="1RB 1RH", B="0RC 1RB", C="1LC 1LA"),
    "busy-beaver-4": _machine("A", A="1RB 1LB", B="1LA 0LC", C="1RH 1LD", D="1RD 0RA"),
}


def random_machine(states: int, symbols: int, generator: torch.Generator) -> TuringMachine:
    """A machine with a random rule for every state and symbol, one of ten of them left out (it halts there)."""
    names, alphabet = [chr(65 + i) for i in range(states)], [str(i) for i in range(symbols)]

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    return TuringMachine(
        {
            (state, symbol): (alphabet[draw(symbols)], "LR"[draw(2)], names[draw(states)])  # type: ignore[misc]
            for state in names
            for symbol in alphabet
            if draw(10)
        },
        names[0],
    )
