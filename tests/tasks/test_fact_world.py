"""The world: its facts against a second look-up, its words, and splits with no leak."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.fact_world import KINDS, RELATIONS, Fact, FactWorld
from seqmem.tasks.fact_world.names import SHAPES, TRADES, names

WORLD = FactWorld(0, people=40, places=12, organisations=8)


def test_the_same_world_everywhere() -> None:
    told = "\n".join(" ".join(map(str, fact)) for fact in FactWorld(0).facts)
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "5699473bc89bddbc"
    assert FactWorld(0, people=40, places=12, organisations=8).facts == WORLD.facts
    assert FactWorld(1, people=40, places=12, organisations=8).facts != WORLD.facts


def test_every_subject_has_every_relation_of_its_kind() -> None:
    about = Counter(fact.about for fact in WORLD.facts)
    expected = {(e.name, r.name) for r in RELATIONS.values() for e in WORLD.entities[r.subject]}
    assert about.keys() == expected
    for fact in WORLD.facts:
        relation = RELATIONS[fact.relation]
        assert (fact.subject.kind, fact.object.kind) == (relation.subject, relation.object)
        assert fact.subject != fact.object
        assert (fact.since is not None) == (fact.until is not None) == relation.dated
    names = [entity.name for kind in KINDS for entity in WORLD.entities[kind]]
    assert len(set(names)) == len(names)


def test_dated_facts_cover_every_year_once_and_each_is_a_change() -> None:
    first, last = WORLD.years
    lengths = Counter()
    for subject in WORLD.entities["person"]:
        for relation in ("home", "employer"):
            facts = [f for f in WORLD.facts if f.about == (subject.name, relation)]
            years = [y for f in facts for y in range(f.since or 0, (f.until or 0) + 1)]
            assert years == list(range(first, last + 1))
            assert all(a.object != b.object for a, b in pairwise(facts))
            lengths[len(facts)] += 1
            for year in (first, last, facts[-1].since or 0):
                assert WORLD.answer(subject, relation, year) == next(f.object for f in facts if f.holds_in(year))
    assert lengths.keys() == {1, 2, 3}


def test_objects_are_uniform_and_independent() -> None:
    """No candidate is a better guess, and one relation of a person tells nothing of another."""
    world = FactWorld(3, people=2000, places=8, organisations=2, regions=2, stays=1)
    places = Counter(f.object.name for f in world.facts if f.relation == "birthplace")
    assert max(places.values()) / 2000 == pytest.approx(1 / 8, abs=0.03)
    both = Counter((world.answer(p, "birthplace"), world.answer(p, "home", 1900)) for p in world.entities["person"])
    assert max(both.values()) / 2000 == pytest.approx(1 / 64, abs=0.01)


def test_held_out_phrases_are_others_of_the_same_words() -> None:
    def of(split: str) -> list[str]:
        return [t for r in RELATIONS.values() for form in ("statements", "questions") for t in r.templates(form, split)]

    train, test = of("train"), of("test")
    assert len(set(train + test)) == len(train) + len(test)
    assert {word for text in test for word in text.split()} <= {word for text in train for word in text.split()}
    for relation in RELATIONS.values():
        assert len(relation.templates("statements", "train")) >= 3
        assert len(relation.templates("questions", "train")) >= 3
        slots = ["{subject}", "{object}", *(["{since}", "{until}"] if relation.dated else [])]
        assert all(text.count(slot) == 1 for text in relation.statements for slot in slots)
        asked = ["{subject}", *(["{year}"] if relation.dated else [])]
        assert all(text.count(slot) == 1 for text in relation.questions for slot in asked)
        assert not any("{object}" in text for text in relation.questions)


def matches(template: str, words: tuple[str, ...]) -> dict[str, str] | None:
    """The slots of a template, read back from words; None where they are of another template."""
    pattern = template.split()
    if len(pattern) != len(words):
        return None
    slots = {p: w for p, w in zip(pattern, words, strict=True) if p[0] == "{"}
    return slots if all(p == w for p, w in zip(pattern, words, strict=True) if p[0] != "{") else None


def test_sentences_say_what_is_true_and_are_flagged_where_not(generator: torch.Generator) -> None:
    told = WORLD.sentences(generator, contradicted=0.3)
    assert len(told) == len(WORLD.facts)
    wrong = [sentence for sentence in told if not sentence.holds]
    assert len(wrong) / len(told) == pytest.approx(0.3, abs=0.06)
    for sentence in told:
        relation = RELATIONS[sentence.fact.relation]
        slots = matches(relation.statements[sentence.template], sentence.words)
        assert slots is not None
        assert slots["{subject}"] == sentence.fact.subject.name
        assert slots["{object}"] == sentence.fact.object.name
        true = {f.object.name for f in WORLD.facts if f.about == sentence.fact.about}
        assert (slots["{object}"] in true) == sentence.holds
        if relation.dated:
            dates = (int(slots["{since}"]), int(slots["{until}"]))
            assert dates in {(f.since, f.until) for f in WORLD.facts if f.about == sentence.fact.about}
    assert {s.template for s in told if s.fact.relation == "home"} == {0, 1, 2, 3}
    assert {s.template for s in WORLD.sentences(generator, templates="test") if s.fact.relation == "home"} == {4}


def test_questions_have_their_answer_among_the_candidates(generator: torch.Generator) -> None:
    for templates in ("train", "test"):
        for question in WORLD.questions(generator, templates=templates):  # type: ignore[arg-type]
            relation = RELATIONS[question.fact.relation]
            slots = matches(relation.questions[question.template], question.words)
            assert slots is not None
            year = int(slots["{year}"]) if relation.dated else None
            assert question.year == year
            assert question.answer == WORLD.answer(slots["{subject}"], relation.name, year)
            assert question.answer in question.candidates
            assert {c.kind for c in question.candidates} == {relation.object}


def test_popular_people_are_told_of_more_often(generator: torch.Generator) -> None:
    births = [fact for fact in WORLD.facts if fact.relation == "birthplace"]
    told = Counter(s.fact.subject.rank for s in WORLD.sentences(generator, births, count=20_000))
    total = sum(1 / (rank + 1) for rank in range(40))
    for rank in (0, 1, 9):
        assert told[rank] / 20_000 == pytest.approx(1 / (rank + 1) / total, rel=0.15)
    level = FactWorld(0, people=40, zipf=0.0)
    assert len({level.weight(fact) for fact in level.facts}) == 1


@pytest.mark.parametrize("by", ["fact", "entity"])
def test_nothing_held_out_is_in_training(generator: torch.Generator, by: Any) -> None:
    train, test, *_ = WORLD.split(by, generator, share=0.25)
    assert train
    assert test
    assert not {f.about for f in train} & {f.about for f in test}
    if by == "fact":
        assert set(train) | set(test) == set(WORLD.facts)
    else:
        hidden = {f.subject.name for f in test}
        assert len(hidden) == 10
        for sentence in (*WORLD.sentences(generator, train, templates="all"),
                         *WORLD.questions(generator, train, templates="all")):  # fmt: skip
            assert not hidden & set(sentence.words)
        assert {f.about for f in test} == {f.about for f in WORLD.facts if f.subject.name in hidden}


def test_held_out_templates(generator: torch.Generator) -> None:
    train, test, told, asked = WORLD.split("template", generator)
    assert train == test == WORLD.facts
    seen = {(q.fact.relation, q.template) for q in WORLD.questions(generator, train, templates=told, count=5000)}
    new = {(q.fact.relation, q.template) for q in WORLD.questions(generator, test, templates=asked, count=5000)}
    assert not seen & new
    assert len(seen | new) == sum(len(r.questions) for r in RELATIONS.values())


def test_words_and_text_are_the_same_thing(generator: torch.Generator) -> None:
    words = WORLD.words
    assert len(set(words.words)) == len(words)
    sentences = WORLD.sentences(generator, templates="all")
    for said in (*sentences, *WORLD.questions(generator, templates="all")):
        assert said.text[0].isupper() or said.text[0].isdigit()
        assert words.encode(said.text) == words.encode(said.words)
        assert words.decode(words.encode(said.words)) == said.text
    page = " ".join(sentence.text for sentence in sentences[:50])
    assert words.decode(words.encode(page)) == page
    ends = [s for s in sentences if s.prompt is not None]
    assert ends
    assert all(f"{s.prompt} {s.fact.object.name}." == s.text for s in ends)
    with pytest.raises(InputError, match="'paris' is no word of this world"):
        words.encode("Paris is the seat of nobody.")


@pytest.mark.parametrize("kind", SHAPES)
def test_names(kind: str, generator: torch.Generator) -> None:
    found = names(kind, 200, generator)
    assert len(set(found)) == 200
    assert all(name.isalpha() and name[0].isupper() and name.endswith(SHAPES[kind][1]) for name in found)
    assert len(set(TRADES)) == len(TRADES)


def test_bad_requests_say_so(generator: torch.Generator) -> None:
    for call, says in (
        (lambda: FactWorld(people=1), "people=1, expected at least 2"),
        (lambda: FactWorld(places=10_000).facts, "10000 names of kind 'place' were asked for, expected at most 600"),
        (lambda: FactWorld(years=(1950, 1951)), "expected a first year above 30 and at least 3 years more"),
        (lambda: FactWorld(zipf=-1), "zipf=-1, expected a number from 0"),
        (lambda: WORLD.answer("Nobody", "home", 1900), "'Nobody' has no home in this world, expected a person such as"),
        (lambda: WORLD.answer("Nobody", "hom"), "unknown relation 'hom'. Did you mean 'home'?"),
        (lambda: WORLD.answer(WORLD.entities["person"][0], "home"), "home changes: year=None, expected one from 1900"),
        (lambda: WORLD.sentences(generator, contradicted=2), "contradicted=2, expected a share from 0 to 1"),
        (lambda: WORLD.sentences(generator, templates="tets"), "Did you mean 'test'?"),  # type: ignore[arg-type]
        (lambda: WORLD.split("entity", generator, share=1), "share=1, expected a number between 0 and 1"),
    ):
        with pytest.raises(InputError) as error:
            call()  # type: ignore[no-untyped-call]
        assert says in str(error.value)


def test_a_contradiction_is_never_true(generator: torch.Generator) -> None:
    small = FactWorld(0, people=5, places=5, organisations=5, regions=3)
    for fact in small.facts:
        claim = small.claim_against(fact, generator)
        assert claim.object not in {f.object for f in small.facts if f.about == fact.about}
        assert claim._replace(object=fact.object) == fact
        assert small.agrees(fact)
        assert not small.agrees(claim)
    claims = [small.claim_against(fact, generator) for fact in small.facts[:10]]
    assert not any(sentence.holds for sentence in small.sentences(generator, claims))
    assert {q.answer for q in small.questions(generator, claims)} == {claim.object for claim in claims}
    tiny = FactWorld(0, people=2, places=2, organisations=2, regions=2)
    taught: Fact = next(fact for fact in tiny.facts if fact.relation == "teacher")
    with pytest.raises(InputError, match="no candidate is left to contradict"):
        tiny.claim_against(taught, generator)
