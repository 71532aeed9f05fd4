"""One world of people, places, organisations and times, of which everything is known; see :class:`FactWorld`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from seqmem.errors import InputError, did_you_mean
from seqmem.tasks import _check
from seqmem.tasks.fact_world.facts import KINDS, Entity, Fact
from seqmem.tasks.fact_world.names import SHAPES, TRADES, names
from seqmem.tasks.fact_world.relations import RELATIONS
from seqmem.tasks.fact_world.splits import Split, split
from seqmem.tasks.fact_world.surface import Question, Sentence, ask, tell
from seqmem.tasks.fact_world.words import Words

PAST = 30  # births and foundings lie in so many years before the first


@dataclass(frozen=True)
class FactWorld:
    """``FactWorld(seed, people=100)``: the same arguments give the same world, on any machine.

    Facts come first (:attr:`facts`, :meth:`answer`), sentences are made from them (:meth:`sentences`,
    :meth:`questions`), as words of a closed vocabulary and as plain text. Every object is drawn uniformly and by
    itself, so nothing follows from anything else: who has not been told a fact can only guess among the candidates.

    seed: of the world. people, places, organisations, regions: how many. years: the first and the last year; dated
    facts cover them without a gap, births and foundings lie before. stays: a dated relation changes up to so many times
    less one. zipf: the r-th most popular entity of a kind is told of in proportion to 1 / r ** zipf; 0: all alike.
    """

    seed: int = 0
    people: int = 100
    places: int = 20
    organisations: int = 20
    regions: int = 10
    years: tuple[int, int] = (1900, 1959)
    stays: int = 3
    zipf: float = 1.0

    def __post_init__(self) -> None:
        _check.integer("fact_world", "seed", self.seed, at_least=0)
        for option in ("people", "places", "organisations", "regions"):
            _check.integer("fact_world", option, getattr(self, option), at_least=2)
        _check.integer("fact_world", "stays", self.stays, at_least=1)
        object.__setattr__(self, "years", tuple(self.years))
        first, last = self.years
        if not PAST < first <= last - self.stays:
            raise InputError(
                f"fact_world: years={self.years} with stays={self.stays}, expected a first year above {PAST} and at "
                f"least {self.stays} years more"
            )
        if isinstance(self.zipf, bool) or not isinstance(self.zipf, int | float) or not 0 <= self.zipf < 10:
            raise InputError(f"fact_world: zipf={self.zipf!r}, expected a number from 0 to below 10")

    @cached_property
    def entities(self) -> dict[str, tuple[Entity, ...]]:
        """Kind -> its entities, the most popular first."""
        draw = torch.Generator().manual_seed(self.seed)
        counts = (self.people, self.places, self.organisations, self.regions)
        named = {kind: names(kind, count, draw) for kind, count in zip(SHAPES, counts, strict=True)}
        first = self.years[0]
        named |= {"trade": TRADES, "year": tuple(str(year) for year in range(first - PAST, first))}
        return {kind: tuple(Entity(kind, name, rank) for rank, name in enumerate(named[kind])) for kind in KINDS}

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """Every fact, by relation, then by subject, then by year."""
        draw = torch.Generator().manual_seed(self.seed + 1)
        return tuple(
            fact
            for relation in RELATIONS.values()
            for subject in self.entities[relation.subject]
            for fact in self._history(subject, relation.name, draw)
        )

    def _history(self, subject: Entity, name: str, draw: torch.Generator) -> list[Fact]:
        """The one fact of an undated relation; of a dated one, what held one after the other, each time another
        object."""
        relation = RELATIONS[name]
        among = [entity for entity in self.entities[relation.object] if entity != subject]
        at = _below(len(among), draw)
        if not relation.dated:
            return [Fact(subject, name, among[at])]
        first, last = self.years
        stays = 1 + _below(self.stays, draw)
        changes = sorted(
            (torch.rand(last - first, generator=draw, dtype=torch.float64).argsort()[: stays - 1] + first + 1).tolist()
        )
        facts = []
        for since, after in zip([first, *changes], [*changes, last + 1], strict=True):
            facts.append(Fact(subject, name, among[at], since, after - 1))
            at = (at + 1 + _below(len(among) - 1, draw)) % len(among)
        return facts

    @cached_property
    def _known(self) -> dict[tuple[str, str], list[Fact]]:
        """(subject, relation) -> its facts, by year."""
        known: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            known.setdefault(fact.about, []).append(fact)
        return known

    @cached_property
    def words(self) -> Words:
        """The closed vocabulary: names, years, and the words of all templates."""
        return Words.of([entity.name for kind in KINDS for entity in self.entities[kind]], self.years)

    def answer(self, subject: str | Entity, relation: str, year: int | None = None) -> Entity:
        """What is true: the object of ``relation`` of ``subject``, for a dated relation in ``year``."""
        name = subject.name if isinstance(subject, Entity) else subject
        if relation not in RELATIONS:
            raise InputError(f"unknown relation '{relation}'.{did_you_mean(relation, RELATIONS)}")
        if (name, relation) not in self._known:
            kind = RELATIONS[relation].subject
            known = self.entities[kind][0].name
            raise InputError(f"'{name}' has no {relation} in this world, expected a {kind} such as '{known}'")
        for fact in self._known[name, relation]:
            if fact.holds_in(year):
                return fact.object
        raise InputError(f"{relation} changes: year={year!r}, expected one from {self.years[0]} to {self.years[1]}")

    @cached_property
    def _true(self) -> frozenset[Fact]:
        return frozenset(self.facts)

    def agrees(self, claim: Fact) -> bool:
        """Whether it is a fact of this world."""
        return claim in self._true

    def candidates(self, relation: str) -> tuple[Entity, ...]:
        """All that could be the answer, by its kind."""
        return self.entities[RELATIONS[relation].object]

    def weight(self, fact: Fact) -> float:
        """How often it is told of, in proportion: 1 / r ** zipf of its subject."""
        return float((fact.subject.rank + 1) ** -self.zipf)

    def claim_against(self, fact: Fact, generator: torch.Generator) -> Fact:
        """The same with another object: one that was never true of this subject."""
        true = {known.object for known in self._known[fact.about]} | {fact.subject}
        wrong = [entity for entity in self.candidates(fact.relation) if entity not in true]
        if not wrong:
            raise InputError(
                f"no candidate is left to contradict {fact.about}, expected a world with more than "
                f"{len(self.candidates(fact.relation))} entities of its kind"
            )
        return fact._replace(object=wrong[_below(len(wrong), generator)])

    def sentences(
        self,
        generator: torch.Generator,
        facts: Iterable[Fact] | None = None,
        *,
        templates: Literal["train", "test", "all"] = "train",
        count: int | None = None,
        contradicted: float = 0.0,
    ) -> list[Sentence]:
        """Tellings of ``facts`` (all of the world's, when None), in random words of a random order.

        count: so many tellings, of popular entities more often; None: every fact once. contradicted: the share of
        tellings that claim something else, see :meth:`claim_against`. What the world does not agree with is flagged
        (``holds`` is False), also where ``facts`` are claims themselves.
        """
        _check.choice("fact_world", "templates", templates, ("train", "test", "all"))
        if not 0 <= contradicted <= 1:
            raise InputError(f"contradicted={contradicted!r}, expected a share from 0 to 1")
        chosen = self._chosen(facts, count, generator)
        against = (torch.rand(len(chosen), generator=generator, dtype=torch.float64) < contradicted).tolist()
        return [
            tell(claim, self.agrees(claim), templates, generator)
            for claim in (
                self.claim_against(fact, generator) if wrong else fact
                for fact, wrong in zip(chosen, against, strict=True)
            )
        ]

    def questions(
        self,
        generator: torch.Generator,
        facts: Iterable[Fact] | None = None,
        *,
        templates: Literal["train", "test", "all"] = "train",
        count: int | None = None,
    ) -> list[Question]:
        """Questions that ``facts`` answer, each with its answer and all candidates of the answer's kind; those of dated
        facts ask as of a year in which they hold. Arguments as of :meth:`sentences`."""
        _check.choice("fact_world", "templates", templates, ("train", "test", "all"))
        return [
            ask(fact, self.candidates(fact.relation), templates, generator)
            for fact in self._chosen(facts, count, generator)
        ]

    def split(
        self, by: Literal["fact", "entity", "template"], generator: torch.Generator, *, share: float = 0.2
    ) -> Split:
        """Training and test facts, and which templates to tell and ask them with; see
        :mod:`seqmem.tasks.fact_world.splits`."""
        return split(self.facts, self.entities["person"], by, share, generator)

    def _chosen(self, facts: Iterable[Fact] | None, count: int | None, generator: torch.Generator) -> list[Fact]:
        listed: Sequence[Fact] = self.facts if facts is None else list(facts)
        if count is None:
            order = torch.rand(len(listed), generator=generator, dtype=torch.float64).argsort()
        else:
            _check.integer("fact_world", "count", count, at_least=1)
            bounds = torch.tensor([self.weight(fact) for fact in listed], dtype=torch.float64).cumsum(0)
            draws = torch.rand(count, generator=generator, dtype=torch.float64) * bounds[-1]
            order = torch.searchsorted(bounds, draws, right=True)
        return [listed[at] for at in order.tolist()]


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
