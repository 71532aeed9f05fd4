"""Facts in words: sentences that tell or contradict them, questions that they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from seqmem.tasks.fact_world.facts import Entity, Fact
from seqmem.tasks.fact_world.relations import RELATIONS
from seqmem.tasks.fact_world.words import to_text


class Sentence(NamedTuple):
    """``words`` tell ``fact``. ``holds``: whether the world agrees; ``template``: which of the relation's statements it
    is."""

    words: tuple[str, ...]
    fact: Fact
    holds: bool
    template: int

    @property
    def text(self) -> str:
        """ "Brasolt was born in Kelmere.\""""
        return to_text(self.words)

    @property
    def prompt(self) -> str | None:
        """The text up to the object, for a model to continue, where the object is the last word; else None."""
        if self.words[-2] != self.fact.object.name:
            return None
        return to_text(self.words[:-2])


class Question(NamedTuple):
    """``words`` ask what ``fact`` answers, for a dated one as of ``year``. ``candidates``: every entity of the answer's
    kind; ``template``: which of the relation's questions it is."""

    words: tuple[str, ...]
    answer: Entity
    candidates: tuple[Entity, ...]
    fact: Fact
    year: int | None
    template: int

    @property
    def text(self) -> str:
        """ "Where was Brasolt born?\""""
        return to_text(self.words)


def tell(fact: Fact, holds: bool, templates: str, generator: torch.Generator) -> Sentence:
    """In the words of a random template."""
    template = _any_template(fact.relation, "statements", templates, generator)
    return Sentence(_filled(RELATIONS[fact.relation].statements[template], fact, None), fact, holds, template)


def ask(fact: Fact, candidates: Sequence[Entity], templates: str, generator: torch.Generator) -> Question:
    """In the words of a random template, as of a random year in which the fact holds."""
    template = _any_template(fact.relation, "questions", templates, generator)
    year = None
    if fact.since is not None and fact.until is not None:
        year = int(torch.randint(fact.since, fact.until + 1, (), generator=generator))
    words = _filled(RELATIONS[fact.relation].questions[template], fact, year)
    return Question(words, fact.object, tuple(candidates), fact, year, template)


def _any_template(relation: str, form: str, templates: str, generator: torch.Generator) -> int:
    """The number of one, among all of the relation."""
    allowed = RELATIONS[relation].templates(form, templates)
    every = RELATIONS[relation].templates(form, "all")
    return every.index(allowed[int(torch.randint(len(allowed), (), generator=generator))])


def _filled(template: str, fact: Fact, year: int | None) -> tuple[str, ...]:
    slots = {
        "{subject}": fact.subject.name, "{object}": fact.object.name, "{since}": fact.since, "{until}": fact.until,
        "{year}": year,
    }  # fmt: skip
    return tuple(str(slots.get(word, word)) for word in template.split())
