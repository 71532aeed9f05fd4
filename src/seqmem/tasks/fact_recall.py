"""Facts of a synthetic world: told in sentences, asked in questions, and asked again in other words, or of people that
nobody has told of.

The world, its sentences and its questions are this library's own: :mod:`seqmem.tasks.fact_world`. That a fact which is
only told can be asked is the question of Physics of Language Models: Part 3.1 (2023), arXiv 2309.14316.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._fact_tables import OBJECT, QUESTION, ROLES, STATEMENT, Tables, build, phrase, some_matters
from seqmem.tasks._packing import at_the_end, that_fit
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task
from seqmem.tasks.fact_world import FactWorld

SHORTEST = 5  # words of the shortest sentence
#: slice -> role of what is asked, and whether the words of the question are held out
SLICES = {"known": ("known", 0), "paraphrase": ("known", 1), "told": ("told", 0), "unknown": ("unknown", 0)}


@dataclass(frozen=True)
class FactRecall(Task):
    """Rows of sentences and questions about one fixed world; what is learned must be held by the weights.

    Trained on: statements and, of a part of them, questions with their answers, each followed by the next; every next
    word within a sentence is asked. Tested on: questions alone, whose answer is asked at the question mark. In no row
    is the same thing said or asked twice, so that nothing can be read off. Blanks fill up the beginning. Slices:

        known        asked in training, in these words among others
        paraphrase   asked in training, never in these words
        told         told in training, never asked
        unknown      of people that no training sentence names: no better than a guess, :attr:`guess`, can be right
                     for a reason

    Options:
        length: time steps of a training example.
        people, places, organisations: how many there are in the world.
        stays: a dated relation (home, employer, leader) has up to so many facts, one after the other.
        zipf: people are told of in proportion to 1 / rank ** zipf; 0: all alike. Tests ask of all alike.
        told: the share of what is told that is never asked in training.
        unknown: the share of the people who are never told of.
        seed: of the world, and of what is asked, told or never told.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; a row then has more questions.
    """

    solved_at: ClassVar[float | None] = None
    changes: ClassVar[Changes] = {"people": (100, 200), "stays": (2, 4), "zipf": (1.0,)}

    length: int = 64
    people: int = 50
    places: int = 20
    organisations: int = 10
    stays: int = 1
    zipf: float = 0.0
    told: float = 0.3
    unknown: float = 0.2
    seed: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("fact_recall", "length", self.length, at_least=1)
        for option in ("told", "unknown"):
            object.__setattr__(self, option, _check.positive("fact_recall", option, getattr(self, option), at_most=0.9))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("fact_recall", self.test_lengths, length))
        _world(self.seed, self.people, self.places, self.organisations, self.stays, self.zipf)
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def world(self) -> FactWorld:
        """The world, for its facts and for its sentences as plain text."""
        return _world(self.seed, self.people, self.places, self.organisations, self.stays, self.zipf)

    @property
    def _tables(self) -> Tables:
        return _tables(self.world, self.told, self.unknown)

    @property
    def words(self) -> tuple[str, ...]:
        """The word of every token; the first is blank."""
        return self.world.words.words

    @property
    def vocab_size(self) -> int:
        return len(self.world.words)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(SLICES)

    @property
    def chance(self) -> float:
        """Of the answer that is right most often, over all slices."""
        tables, right = self._tables, torch.zeros(self.vocab_size, dtype=torch.float64)
        for role, _ in SLICES.values():
            matters = tables.roles[role]
            for matter in matters.tolist():
                first, count = int(tables.first[matter]), int(tables.many[matter])
                share = torch.full((count,), 1 / count / len(matters) / len(SLICES), dtype=torch.float64)
                right.index_add_(0, tables.object[first : first + count], share)
        return float(right.max())

    @property
    def guess(self) -> float:
        """What can be had in the slice "unknown": a guess among the candidates of the answer's kind."""
        return float(self._tables.guess[self._tables.roles["unknown"]].mean())

    def _check_length(self, length: int) -> None:
        longest = self._tables.templates.shape[1]
        if length < longest:
            raise InputError(
                f"task 'fact_recall': length={length}, expected at least {longest}, the longest question and its answer"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of ``length`` steps. In tests the slice goes round from row to row, from a random start;
        training rows count as "known"."""
        _check.request("fact_recall", batch_size, length, generator, split)
        self._check_length(length)
        if split == "train":
            inputs, targets = self._lesson(batch_size, length, generator)
            return Batch(inputs, targets, torch.zeros(batch_size, dtype=torch.int64))
        groups = _draw.in_turn(batch_size, len(SLICES), generator)
        inputs, targets = (torch.empty(batch_size, length, dtype=torch.int64) for _ in range(2))
        for group, (role, words) in enumerate(SLICES.values()):
            rows = (groups == group).nonzero().squeeze(1)
            if len(rows):
                inputs[rows], targets[rows] = self._exam(len(rows), length, role, words, generator)
        return Batch(inputs, targets, groups)

    def _lesson(self, rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tables = self._tables
        matter = some_matters(tables, ROLES[:2], rows, length // SHORTEST, self.zipf > 0, generator)
        may_ask = torch.zeros(len(tables.first), dtype=torch.bool).index_fill_(0, tables.roles["known"], True)
        half = torch.rand(matter.shape, generator=generator, dtype=torch.float64) < 0.5
        form = torch.where(half & may_ask[matter], QUESTION, STATEMENT)
        words = phrase(tables, matter, form, 0, generator)
        asked = words != 0
        asked[:, :, 0] = False  # what a sentence begins with cannot be known
        return _rows(words, asked, length)

    def _exam(
        self, rows: int, length: int, role: str, held_out_words: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        matter = some_matters(self._tables, (role,), rows, length // SHORTEST, False, generator)
        form = torch.full_like(matter, QUESTION)
        words = phrase(self._tables, matter, form, held_out_words, generator)
        return _rows(words, words <= OBJECT, length)

    def example(self, generator: torch.Generator) -> str:
        """The beginning of a lesson, and a question of every slice."""
        decode = self.world.words.decode
        told = decode(self.sample(1, self.length, generator).inputs[0].tolist())
        lines = [f"taught: {told}"]
        length = self._tables.templates.shape[1]
        for name, (role, words) in SLICES.items():
            inputs, targets = (part[0].tolist() for part in self._exam(1, length, role, words, generator))
            at = next(t for t in range(length) if targets[t] != IGNORE)
            lines.append(f"{name}: {decode(inputs[: at + 1])} -> {self.words[targets[at]]}")
        return "\n".join(lines)


def _rows(words: Tensor, asked: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Sentences (rows, piece, word) as rows of ``length``; what is asked is the target of the step before it."""
    present = that_fit(words != 0, length)
    tokens = torch.where(words <= OBJECT, OBJECT - words, words)
    inputs = at_the_end(tokens, present, length, 0)
    answers = at_the_end(tokens.masked_fill(~asked, IGNORE), present, length, IGNORE)
    targets = torch.full_like(answers, IGNORE)
    targets[:, :-1] = answers[:, 1:]
    return inputs, targets


@lru_cache(16)
def _world(seed: int, people: int, places: int, organisations: int, stays: int, zipf: float) -> FactWorld:
    return FactWorld(seed, people, places, organisations, stays=stays, zipf=zipf)


@lru_cache(16)
def _tables(world: FactWorld, told: float, unknown: float) -> Tables:
    return build(world, told, unknown, f"task 'fact_recall': told={told!r}")
