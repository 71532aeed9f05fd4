"""Chains of assignments among prose: what has this variable in the end?

Kind of task: RULER: What's the Real Context Size of Your Long-Context Language Models? (2024), arXiv 2404.06654; there
all variables with a value are asked for, here the value of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._sentences import LET, LETTERS, QUESTIONS
from seqmem.tasks.base import Changes
from seqmem.tasks.text import Draws, Story, TextTask


@dataclass(frozen=True)
class VariableTracking(TextTask):
    """``Let K be 47.`` somewhere in prose, ``Let B be K.`` somewhere behind it, and so on; at the end ``So B must be``.

    Options:
        chains: how many, with different letters and numbers; the last letter of one is asked.
        hops: assignments of a letter in each chain, after the number's; 0 asks for the number's own.
        length, tokens, test_lengths: see :class:`~seqmem.tasks.text.TextTask`.
    """

    answers: ClassVar[tuple[str, ...]] = tuple(str(number) for number in range(10, 100))
    changes: ClassVar[Changes] = {"chains": (4,), "hops": (4,), "length": (512, 1024)}

    tokens: Literal["words", "bytes"] = "words"
    chains: int = 3
    hops: int = 2

    def __post_init__(self) -> None:
        chains = _check.integer(self.name, "chains", self.chains, at_least=1)
        letters = chains * (1 + _check.integer(self.name, "hops", self.hops, at_least=0))
        if letters > len(LETTERS):
            raise InputError(
                f"task '{self.name}': chains={chains} with hops={self.hops} need {letters} letters, expected at most "
                f"{len(LETTERS)}; use fewer or shorter chains"
            )
        super().__post_init__()

    def story(self, depth: float, draws: Draws) -> Story:
        """The asked chain's number at ``depth``, its other links behind it in their order."""
        size = self.hops + 1
        letters = draws.sample(LETTERS, self.chains * size)
        numbers = draws.sample(self.answers, self.chains)
        facts = []
        for chain, number in enumerate(numbers):
            names = letters[chain * size : (chain + 1) * size]
            first = depth if chain == 0 else draws.uniform()
            places = [first, *sorted(first + (1 - first) * draws.uniform() for _ in names[1:])]
            links = zip(places, names, [number, *names], strict=False)
            facts += [(min(place, 1.0), LET.format(name=name, value=value)) for place, name, value in links]
        return Story(facts, QUESTIONS["let"].format(name=letters[size - 1]), numbers[0])
