"""Which of two events came first, in stories told in the order of events or not.

Are Large Language Models Temporally Grounded? (2023), arXiv 2311.08398, its questions with contradictory twins; the
stories are this library's own: :mod:`seqmem.tasks.temporal`, which also gives them as text, for any language model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._packing import at_the_end
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task
from seqmem.tasks.temporal.timeline import ACTIONS, BEFORE, MEANWHILE, PEOPLE, THEN, Told, tell_timelines

WORDS = ("", ".", "?", "yes", "no", "then", "before", "after", "that", "meanwhile", "was", "it", *PEOPLE, *ACTIONS)
NUMBER = {word: number for number, word in enumerate(WORDS)}
PERSON, ACTION = NUMBER[PEOPLE[0]], NUMBER[ACTIONS[0]]
SENTENCE, QUESTION = 5, 9  # words of the longest
LINKS = torch.zeros(4, 2, dtype=torch.int64)  # the words of each link
LINKS[THEN, 0], LINKS[MEANWHILE, 0] = NUMBER["then"], NUMBER["meanwhile"]
LINKS[BEFORE, 0], LINKS[BEFORE, 1] = NUMBER["before"], NUMBER["that"]
#: slice -> agreement, in tests
SLICES = {"ordered": 1.0, "shuffled": 0.5}


class Questions(NamedTuple):
    """Of each story several: about, other: (rows, question) events, as they are told; after: (rows, question) bool,
    "was it after OTHER that ABOUT?", else before; answer: (rows, question), a word."""

    about: Tensor
    other: Tensor
    after: Tensor
    answer: Tensor

    @property
    def twins(self) -> Questions:
        """The same with after for before: what was yes is no."""
        return self._replace(after=~self.after, answer=NUMBER["yes"] + NUMBER["no"] - self.answer)


@dataclass(frozen=True)
class TemporalOrder(Task):
    """Stories of who did what, each sentence said to come after the one before it ("then"), before it ("before that")
    or at the same time ("meanwhile"), and questions whether one event was before or after another; answers, yes or no,
    are asked at the question marks. Only what the words decide is asked, also by way of other events. Blanks fill up
    the beginning.

    Options:
        length: time steps of a training example: 5 for every sentence, and 9 for every question.
        questions: at the end of each story; that the answers are not among the inputs makes them independent.
        agreement: the share of all pairs of events that training stories tell in the order of events: 1, in that
            order; 0.5, shuffled. Tests have both, as slices.
        after: the share of training questions that ask "was it after ...", the others ask "before"; in tests both are
            as frequent. At 0.5 neither the order nor the word says anything alone, and small models do not leave the
            plateau within minutes.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the stories grow.
    """

    baseline: ClassVar[Mapping[str, Any]] = {"agreement": 1.0}
    changes: ClassVar[Changes] = {"agreement": (0.8, 0.6), "length": (96, 128)}

    length: int = 64
    questions: int = 4
    agreement: float = 0.6
    after: float = 0.25
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("temporal_order", "length", self.length, at_least=1)
        _check.integer("temporal_order", "questions", self.questions, at_least=1)
        for option in ("agreement", "after"):
            object.__setattr__(self, option, _check.share("temporal_order", option, getattr(self, option)))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("temporal_order", self.test_lengths, length))
        for one in self.test_lengths:
            self._events(one)

    def _events(self, length: int) -> int:
        count = (length - QUESTION * self.questions) // SENTENCE
        most = len(PEOPLE) * len(ACTIONS)
        if not 2 <= count <= most:
            raise InputError(
                f"task 'temporal_order': length={length} with {self.questions} questions has room for {max(0, count)} "
                f"events, expected 2 to {most}: length={2 * SENTENCE + QUESTION * self.questions} or more"
            )
        return count

    @property
    def words(self) -> tuple[str, ...]:
        """The word of every token; the first is blank."""
        return WORDS

    @property
    def vocab_size(self) -> int:
        return len(WORDS)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(SLICES)

    @property
    def chance(self) -> float:
        """Yes and no are as frequent."""
        return 0.5

    def told(
        self, count: int, length: int, agreement: float, generator: torch.Generator, after: float = 0.5
    ) -> tuple[Told, Questions]:
        """``count`` stories as long as fit, and questions about each, a share ``after`` of them with that word."""
        told = tell_timelines(count, self._events(length), agreement, generator)
        events = told.person.shape[1]
        weight = told.before.flatten(1).to(torch.float64)
        bounds = weight.cumsum(1)
        draws = torch.rand(count, self.questions, generator=generator, dtype=torch.float64) * bounds[:, -1:]
        pair = torch.searchsorted(bounds, draws, right=True)
        first, second = pair // events, pair % events
        swap, later = (
            torch.rand(count, self.questions, generator=generator, dtype=torch.float64) < share
            for share in (0.5, after)
        )
        answer = torch.where(swap == later, NUMBER["yes"], NUMBER["no"])
        return told, Questions(torch.where(swap, second, first), torch.where(swap, first, second), later, answer)

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of ``length`` steps. In tests the slice goes round from row to row, from a random start;
        training rows count as "ordered"."""
        _check.request("temporal_order", batch_size, length, generator, split)
        if split == "train":
            told, questions = self.told(batch_size, length, self.agreement, generator, self.after)
            return rows_of(told, questions, length, torch.zeros(batch_size).long())
        groups = _draw.in_turn(batch_size, len(SLICES), generator)
        each = [rows_of(*self.told(batch_size, length, share, generator), length, groups) for share in SLICES.values()]
        inputs, targets = (
            torch.stack(parts)[groups, torch.arange(batch_size)]
            for parts in zip(*(batch[:2] for batch in each), strict=True)
        )
        return Batch(inputs, targets, groups)

    def example(self, generator: torch.Generator) -> str:
        """A shuffled story with its questions."""
        told, questions = self.told(1, self.length, 0.5, generator)
        batch = rows_of(told, questions, self.length, torch.zeros(1).long())
        out = ""
        for token, answer in zip(batch.inputs[0].tolist(), batch.targets[0].tolist(), strict=True):
            word = WORDS[token]
            out += word if word in ".?" else f" {word}"
            out += f" -> {WORDS[answer]}\n" if answer != IGNORE else ""
        return out.strip().replace("\n ", "\n")


def rows_of(told: Told, questions: Questions, length: int, groups: Tensor) -> Batch:
    """Stories and questions as rows of ``length`` words; what is too long loses its beginning."""
    rows, events = told.person.shape
    lines = torch.zeros(rows, events + questions.about.shape[1], QUESTION, dtype=torch.int64)
    who, does = PERSON + told.person, ACTION + told.action
    lines[:, :events, :2] = LINKS[told.link]
    lines[:, :events, 2], lines[:, :events, 3], lines[:, :events, 4] = who, does, NUMBER["."]
    asked = lines[:, events:]
    asked[..., 0], asked[..., 1] = NUMBER["was"], NUMBER["it"]
    asked[..., 2] = torch.where(questions.after, NUMBER["after"], NUMBER["before"])
    asked[..., 5], asked[..., 8] = NUMBER["that"], NUMBER["?"]
    for place, event in ((3, questions.other), (6, questions.about)):
        asked[..., place], asked[..., place + 1] = who.gather(1, event), does.gather(1, event)
    answers = torch.full_like(lines, IGNORE)
    answers[:, events:, 8] = questions.answer
    present = lines != 0
    return Batch(at_the_end(lines, present, length, 0), at_the_end(answers, present, length, IGNORE), groups)
