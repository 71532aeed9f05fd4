"""Passages and questions against the facts of the world."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.fact_world import RELATIONS, FactWorld
from seqmem.tasks.knowledge_conflicts import ASKED, KnowledgeConflicts

SMALL = KnowledgeConflicts(people=40, places=8)


def understood(world: FactWorld, text: str, form: str) -> tuple[str, str, str | None]:
    """(subject, relation, object) of a sentence or question, by trying every template."""
    words = text.replace(".", " .").replace("?", " ?").split()
    for name in ASKED:
        for template in getattr(RELATIONS[name], form):
            slots = template.split()
            if len(slots) != len(words):
                continue
            found: dict[str, str] = {}
            if all(
                (found.setdefault(slot, word) == word) if slot[0] == "{" else slot.lower() == word.lower()
                for slot, word in zip(slots, words, strict=True)
            ):
                names = {entity.name.lower(): entity.name for kind in world.entities.values() for entity in kind}
                if found["{subject}"] in {person.name for person in world.entities["person"]}:
                    said = found.get("{object}")
                    return found["{subject}"], name, None if said is None else names[said.lower()]
    raise AssertionError(text)


def sentences(passage: str) -> list[str]:
    return [part.strip() + "." for part in passage.split(".") if part.strip()]


@pytest.mark.parametrize("length", [24, 32, 64])
@pytest.mark.parametrize("which", SMALL.slices)
def test_the_slices_are_what_they_say(generator: torch.Generator, which: str, length: int) -> None:
    world = SMALL.world
    for item in SMALL.items(which, 60, generator, length):
        person, relation, _ = understood(world, item.question, "questions")
        truth = world.answer(person, relation, 1930 if RELATIONS[relation].dated else None).name
        told = [understood(world, sentence, "statements") for sentence in sentences(item.passage)]
        about = [said for who, matter, said in told if (who, matter) == (person, relation)]
        assert item.kind == RELATIONS[relation].object
        if which == "memory":
            assert not told
        elif which == "irrelevant":
            assert not about
            assert told
            if length > 24:
                assert person in [who for who, *_ in told]
        else:
            assert about == [item.answer]
            assert len(told) == (length - 10) // 11
        assert (item.answer == truth) == (which != "conflict")
        if which == "conflict":
            assert item.answer in [entity.name for entity in world.candidates(relation)]


def test_what_is_learned_by_heart_and_who_is_never_told_of(generator: torch.Generator) -> None:
    world = SMALL.world

    def asked(which: str) -> set[tuple[str, str]]:
        return {understood(world, i.question, "questions")[:2] for i in SMALL.items(which, 400, generator)}

    alone = KnowledgeConflicts(people=40, places=8, closed=1.0)
    batch = alone.sample(600, 32, generator)
    lessons = {understood(world, world.words.decode(row), "questions")[:2] for row in batch.inputs.tolist()}
    assert asked("memory") | asked("conflict") <= lessons
    every = SMALL.sample(600, 32, generator).inputs
    people = {world.words.words[token] for token in every.unique().tolist()}
    assert not people & {person for person, _ in asked("unseen")}


def test_shares_in_training(generator: torch.Generator) -> None:
    task = KnowledgeConflicts(people=40, places=8, closed=0.2, relevant=0.75, substituted=0.3)
    world, batch = task.world, task.sample(1500, 32, generator)
    kinds = {"alone": 0, "true": 0, "other": 0, "silent": 0}
    for row, answer in zip(batch.inputs.tolist(), batch.targets[:, -1].tolist(), strict=True):
        *passage, question = world.words.decode(row).split(". ")
        person, relation, _ = understood(world, question, "questions")
        truth = world.answer(person, relation, 1930 if RELATIONS[relation].dated else None).name
        told = {
            (who, matter): said for who, matter, said in (understood(world, s + ".", "statements") for s in passage)
        }
        said = told.get((person, relation))
        assert task.words[answer] == (said or truth)
        kinds["alone" if not passage else "silent" if said is None else "true" if said == truth else "other"] += 1
    shares = {kind: count / 1500 for kind, count in kinds.items()}
    expected = {"alone": 0.2, "other": 0.8 * 0.3, "true": 0.8 * 0.7 * 0.75, "silent": 0.8 * 0.7 * 0.25}
    assert shares == pytest.approx(expected, abs=0.04)
    assert (batch.targets[:, :-1] == IGNORE).all()


def test_a_guess_among_the_candidates_is_chance(generator: torch.Generator) -> None:
    task, right = KnowledgeConflicts(people=60), []
    for item in task.items("unseen", 4000, generator):
        options = [entity.name for entity in task.world.entities[item.kind]]
        right.append(options[int(torch.randint(len(options), (), generator=generator))] == item.answer)
    assert sum(right) / len(right) == pytest.approx(task.chance, abs=0.015)


def test_bad_options_say_so() -> None:
    for options, says in (
        ({"length": 16}, "expected at least 21, a sentence and a question"),
        ({"relevant": 1.5}, "relevant=1.5, expected a number from 0 to 1"),
        ({"substituted": True}, "substituted=True"),
        ({"by_heart": 0}, "by_heart=0, expected a number above 0"),
        ({"by_heart": 1e-6}, "task 'knowledge_conflicts': by_heart=1e-06 leaves nothing of one kind"),
    ):
        with pytest.raises(InputError, match=says):
            KnowledgeConflicts(**options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown slice 'seen'"):
        SMALL.items("seen", 1, torch.Generator())
