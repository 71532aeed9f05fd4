"""Questions behind a passage that answers them, says nothing about them, or contradicts what was learned by heart.

Entity-Based Knowledge Conflicts in Question Answering (2021), arXiv 2109.05052; people, facts and sentences are those
of :mod:`seqmem.tasks.fact_world`. For conflicts made of one's own questions see :mod:`seqmem.tasks.conflicts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._fact_tables import OBJECT, QUESTION, STATEMENT, Tables, build, phrase
from seqmem.tasks._packing import at_the_end
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task
from seqmem.tasks.conflicts import Item
from seqmem.tasks.fact_world import RELATIONS, FactWorld

#: of people, one answer each, few enough candidates to be learned by heart in minutes
ASKED = ("birthplace", "birth_year", "trade", "home", "employer")
#: slice -> whose facts, and what the passage is
SLICES = {
    "memory": ("known", "none"),
    "agreeing": ("known", "agreeing"),
    "irrelevant": ("known", "irrelevant"),
    "conflict": ("known", "conflict"),
    "unseen": ("unknown", "agreeing"),
}
ROLES = ("known", "told")


class Posed(NamedTuple):
    """sentences: (rows, sentence, word) tokens, blanks behind the words. question: (rows, word). answer: (rows,), what
    is right given the passage. memory: (rows,), what is true. relation: (rows,) number."""

    sentences: Tensor
    question: Tensor
    answer: Tensor
    memory: Tensor
    relation: Tensor


@dataclass(frozen=True)
class KnowledgeConflicts(Task):
    """One question at the end of a row, its answer asked at the question mark, behind as many sentences as there is
    room for. Blanks fill up the beginning.

    Trained on: questions alone, about facts to be learned by heart, and questions behind a passage, about these and as
    many other facts. A passage either tells the fact, among sentences about other people, or it does not: then it
    tells something else of the person, and the same of others. Slices:

        memory      a question alone
        agreeing    the passage says what was learned
        irrelevant  the passage does not say it
        conflict    the passage says something else; what it says is right
        unseen      about people of whom no training has told; the passage says it

    Options:
        length: time steps of a training example.
        people, places: how many there are in the world.
        closed: the share of training rows without a passage.
        relevant: the share of passages in training that tell the fact.
        substituted: the share of training rows, of those with a passage, whose passage says something else, as does
            the answer: the paper's cure.
        by_heart: the share of the facts that questions alone are about.
        unseen: the share of the people who are kept for the slice "unseen".
        seed: of the world, and of what is learned by heart.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; passages grow.
    """

    solved_at: ClassVar[float | None] = None
    changes: ClassVar[Changes] = {"people": (1000, 2000), "relevant": (1.0,), "substituted": (0.2,)}

    length: int = 32
    people: int = 500
    places: int = 20
    closed: float = 0.5
    relevant: float = 0.6
    substituted: float = 0.0
    by_heart: float = 0.3
    unseen: float = 0.2
    seed: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        name = "knowledge_conflicts"
        length = _check.integer(name, "length", self.length, at_least=1)
        for option in ("closed", "relevant", "substituted"):
            object.__setattr__(self, option, _check.share(name, option, getattr(self, option)))
        for option in ("by_heart", "unseen"):
            object.__setattr__(self, option, _check.positive(name, option, getattr(self, option), at_most=0.9))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(name, self.test_lengths, length))
        _world(self.seed, self.people, self.places)
        for one in self.test_lengths:
            self._sentences(one)

    @property
    def world(self) -> FactWorld:
        """The world, for its facts and for its sentences as plain text."""
        return _world(self.seed, self.people, self.places)

    @property
    def _known(self) -> _Known:
        return _tables(self.world, self.by_heart, self.unseen)

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
        """Of the best answer to each kind of question: one of its candidates."""
        return sum(1 / len(self.world.candidates(name)) for name in ASKED) / len(ASKED)

    def _sentences(self, length: int) -> int:
        """How many sentences there is room for, whatever they say."""
        known = self._known
        count = (length - known.longest_question) // known.longest_statement
        if count < 1:
            raise InputError(
                f"task 'knowledge_conflicts': length={length}, expected at least "
                f"{known.longest_question + known.longest_statement}, a sentence and a question"
            )
        return count

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of ``length`` steps. In tests the slice goes round from row to row, from a random start;
        training rows count as "agreeing"."""
        _check.request("knowledge_conflicts", batch_size, length, generator, split)
        if split == "train":
            return _batch(self._lesson(batch_size, length, generator), length, torch.ones(batch_size).long())
        groups = _draw.in_turn(batch_size, len(SLICES), generator)
        told = [self.posed(name, batch_size, length, generator) for name in SLICES]
        return _batch(_one_of(told, groups), length, groups)

    def _lesson(self, rows: int, length: int, generator: torch.Generator) -> Posed:
        alone, relevant, changed = (
            torch.rand(rows, generator=generator, dtype=torch.float64) < share
            for share in (self.closed, self.relevant, self.substituted)
        )
        kind = torch.where(changed, 3, torch.where(relevant, 1, 2)).masked_fill(alone, 0)
        by_heart = self._matters(("known",), rows, generator)
        any_fact = self._matters(ROLES, rows, generator)
        return self._pose(torch.where(alone, by_heart, any_fact), kind, length, generator)

    def posed(self, which: str, count: int, length: int, generator: torch.Generator) -> Posed:
        """``count`` questions of one of :attr:`slices`, apart from their passages."""
        _check.choice("knowledge_conflicts", "slice", which, tuple(SLICES))
        role, passage = SLICES[which]
        kind = torch.full((count,), ("none", "agreeing", "irrelevant", "conflict").index(passage))
        return self._pose(self._matters((role,), count, generator), kind, length, generator)

    def items(self, which: str, count: int, generator: torch.Generator, length: int | None = None) -> list[Item]:
        """The same as text, for :mod:`seqmem.tasks.conflicts`; the kind is that of the answer, such as "place"."""
        posed = self.posed(which, count, length or self.length, generator)
        decode, objects = self.world.words.decode, [relation.object for relation in RELATIONS.values()]
        return [
            Item(decode(question), " ".join(decode(s) for s in sentences if any(s)), self.words[answer], objects[about])
            for sentences, question, answer, _, about in zip(*(part.tolist() for part in posed), strict=True)
        ]

    def _matters(self, roles: tuple[str, ...], rows: int, generator: torch.Generator) -> Tensor:
        among = torch.cat([self._known.matters[role] for role in roles])
        return among[torch.randint(len(among), (rows,), generator=generator)]

    def _pose(self, matter: Tensor, kind: Tensor, length: int, generator: torch.Generator) -> Posed:
        """kind: (rows,) 0 no passage, 1 it tells the fact, 2 something else in its place, 3 another object."""
        known, tables, rows, count = self._known, self._known.tables, len(matter), self._sentences(length)
        fact = tables.first[matter]
        relation, truth = tables.relation[fact], tables.object[fact]
        draws = torch.rand(rows, generator=generator, dtype=torch.float64)
        others = known.candidates[relation] != truth[:, None]  # (rows, candidate)
        others &= known.candidates[relation] != 0
        pick = (draws * others.sum(1)).long()
        substitute = known.candidates[relation][torch.arange(rows), _nth(others, pick)]
        told = torch.where(kind == 3, substitute, truth)

        # what else there is to say: of the same person, and of others
        more = self._matters(ROLES, rows * count, generator).view(rows, count)
        same_person = known.person[more] == known.person[matter][:, None]
        beside = known.of_person[known.person[matter]]  # (rows, relation) matters of the person
        aside = beside[torch.arange(rows), _nth(beside != matter[:, None], torch.zeros(rows).long())]
        first, second = known.two
        more = torch.where(same_person, torch.where(known.person[more] == known.person[first], second, first), more)
        about = torch.cat([torch.where(kind == 2, aside, matter)[:, None], more[:, 1:]], 1)
        if count == 1:  # nothing of the person, in half of them
            half = torch.rand(rows, generator=generator, dtype=torch.float64) < 0.5
            about[:, 0] = torch.where((kind == 2) & half, more[:, 0], about[:, 0])
        words = phrase(tables, about, torch.full_like(about, STATEMENT), 0, generator)
        words[:, 0] = torch.where((words[:, 0] <= OBJECT) & (kind != 2)[:, None], OBJECT - told[:, None], words[:, 0])
        words = torch.where(words <= OBJECT, OBJECT - words, words)
        order = torch.rand(rows, count, generator=generator, dtype=torch.float64).argsort(1)
        sentences = words.gather(1, order[..., None].expand_as(words))
        question = phrase(tables, matter[:, None], torch.full_like(matter[:, None], QUESTION), 0, generator)[:, 0]
        behind = (question <= OBJECT).cummax(1).values  # the answer and its stop
        return Posed(
            sentences.masked_fill((kind == 0)[:, None, None], 0),
            question.masked_fill(behind, 0),
            told,
            truth,
            relation,
        )

    def example(self, generator: torch.Generator) -> str:
        """A question of every slice."""
        lines = []
        for name in SLICES:
            (item,) = self.items(name, 1, generator)
            lines.append(f"{name}: {item.passage} {item.question} -> {item.answer}".replace(":  ", ": "))
        return "\n".join(lines)


class _Known(NamedTuple):
    """tables: of the world. matters: role -> those that are asked here. person: (matter,) whose; of_person: (person,
    relation) the matters of each, in the order of ``ASKED``. candidates: (relation, candidate) tokens, 0 behind them.
    two: matters of two different people."""

    tables: Tables
    matters: dict[str, Tensor]
    person: Tensor
    of_person: Tensor
    candidates: Tensor
    two: tuple[int, int]
    longest_statement: int
    longest_question: int


def _batch(posed: Posed, length: int, groups: Tensor) -> Batch:
    lines = torch.cat([posed.sentences, posed.question[:, None]], 1)  # (rows, line, word)
    inputs = at_the_end(lines, lines != 0, length, 0)
    targets = torch.full_like(inputs, IGNORE)
    targets[:, -1] = posed.answer
    return Batch(inputs, targets, groups)


def _one_of(told: list[Posed], groups: Tensor) -> Posed:
    """Row n of the group's."""
    rows = torch.arange(len(groups))
    return Posed(*(torch.stack(parts)[groups, rows] for parts in zip(*told, strict=True)))


def _nth(possible: Tensor, n: Tensor) -> Tensor:
    """The column of the n-th (from 0) True of each row of (rows, column)."""
    return (possible & (possible.long().cumsum(1) == n[:, None] + 1)).long().argmax(1)


@lru_cache(16)
def _world(seed: int, people: int, places: int) -> FactWorld:
    return FactWorld(seed, people, places, organisations=20, stays=1, zipf=0.0)


@lru_cache(16)
def _tables(world: FactWorld, by_heart: float, unseen: float) -> _Known:
    tables = build(world, 1 - by_heart, unseen, f"task 'knowledge_conflicts': by_heart={by_heart!r}")
    numbers = [list(RELATIONS).index(name) for name in ASKED]
    relation, subject = tables.relation[tables.first], tables.subject[tables.first]
    asked = (relation[:, None] == torch.tensor(numbers)).any(1)
    matters = {role: which[asked[which]] for role, which in tables.roles.items()}
    people = subject[asked].unique()
    person = torch.searchsorted(people, subject).clamp(max=len(people) - 1)
    of_person = torch.zeros(len(people), len(ASKED), dtype=torch.int64)
    for place, number in enumerate(numbers):
        which = (relation == number).nonzero().squeeze(1)
        of_person[person[which], place] = which
    token = world.words.token_of
    named = [[token[e.name] for e in world.candidates(name)] for name in RELATIONS]
    candidates = torch.zeros(len(named), max(map(len, named)), dtype=torch.int64)
    for row, tokens in zip(candidates, named, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    longest = {
        form: max(len(text.split()) for name in ASKED for text in RELATIONS[name].templates(form, "train"))
        for form in ("statements", "questions")
    }
    told = matters["told"]
    two = (int(told[0]), int(told[(person[told] != person[told[0]]).long().argmax()]))
    return _Known(tables, matters, person, of_person, candidates, two, longest["statements"], longest["questions"])
