"""The task: what is taught, what is asked, and that nothing leaks, read back from the words."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE, Split
from seqmem.tasks.fact_recall import SLICES, FactRecall
from seqmem.tasks.fact_world import RELATIONS
from tests.tasks.test_fact_world import matches

TASK = FactRecall(people=20, places=8, organisations=4, stays=2)
Said = tuple[str, str, int, str, dict[str, str]]  # relation, form, template, answer, slots


def read(words: tuple[str, ...]) -> Said:
    """Which template it is, with its slots; by trying all."""
    for relation in RELATIONS.values():
        for form in ("statements", "questions"):
            for number, template in enumerate(relation.templates(form, "all")):
                text = template if form == "statements" else f"{template} {{object}} ."
                if (slots := matches(text, words)) is not None:
                    return relation.name, form, number, slots["{object}"], slots
    raise AssertionError(words)


def sentences(row: list[int], task: FactRecall) -> list[Said]:
    """The row in pieces that end with a full stop."""
    found, piece = [], []
    for token in row:
        if token:
            piece.append(task.words[token])
        if piece and piece[-1] == ".":
            found.append(read(tuple(piece)))
            piece = []
    assert not piece
    return found


def rows(split: Split, count: int, length: int = 64, task: FactRecall = TASK) -> list[tuple[list[Said], str]]:
    batch = task.sample(count, length, torch.Generator().manual_seed(1), split=split)
    assert batch.groups is not None
    return [
        (sentences(row, task), task.slices[group])
        for row, group in zip(batch.inputs.tolist(), batch.groups.tolist(), strict=True)
    ]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("length", [64, 200])
def test_all_that_is_said_is_true_and_said_once(split: Split, length: int) -> None:
    for said, _ in rows(split, 40, length):
        assert said
        about = [(slots["{subject}"], relation) for relation, *_, slots in said]
        assert len(set(about)) == len(about)
        for relation, _, _, answer, slots in said:
            year = slots.get("{year}", slots.get("{since}"))
            assert TASK.world.answer(slots["{subject}"], relation, int(year) if year else None).name == answer
            if "{until}" in slots:
                fact = next(f for f in TASK.world.facts if f.about == (slots["{subject}"], relation)
                            and f.since == int(slots["{since}"]))  # fmt: skip
                assert fact.until == int(slots["{until}"])


def test_what_is_asked_in_training_is_every_next_word_of_a_sentence(generator: torch.Generator) -> None:
    batch = TASK.sample(30, 64, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        for t in range(63):
            within = inputs[t] and TASK.words[inputs[t]] != "."
            assert targets[t] == (inputs[t + 1] if within else IGNORE)
        assert targets[63] == IGNORE


def test_what_is_asked_in_tests_is_the_answer(generator: torch.Generator) -> None:
    batch = TASK.sample(30, 64, generator, split="test")
    mark = TASK.words.index("?")
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        asked = [t for t in range(64) if targets[t] != IGNORE]
        assert asked == [t for t in range(64) if inputs[t] == mark]
        assert [targets[t] for t in asked] == [inputs[t + 1] for t in asked]


def test_no_leak() -> None:
    """From a long training: no held-out phrase, no question of what is told only, no word of who is unknown; and
    everything else comes."""
    told_of, asked_of, phrases = set(), set(), set()
    for said, _ in rows("train", 1500):
        for relation, form, template, answer, slots in said:
            matter = (slots["{subject}"], relation)
            (asked_of if form == "questions" else told_of).add(matter)
            phrases.add((relation, form, template))
            told_of |= {(answer, "")} | {(slots["{subject}"], "")}
    tests: dict[str, set[tuple[str, str]]] = {name: set() for name in SLICES}
    for said, group in rows("test", 600):
        for relation, form, template, _, slots in said:
            assert form == "questions"
            tests[group].add((slots["{subject}"], relation))
            assert ((relation, form, template) in phrases) == (group != "paraphrase")
    assert tests["known"] == tests["paraphrase"] == asked_of
    assert tests["told"] <= told_of
    assert not tests["told"] & asked_of
    unknown = {subject for subject, _ in tests["unknown"]}
    assert len(unknown) == 4
    assert not {(name, "") for name in unknown} & told_of
    statements = sum(len(r.templates("statements", "train")) for r in RELATIONS.values())
    questions = sum(len(r.templates("questions", "train")) for r in RELATIONS.values())
    assert len(phrases) == statements + questions


def test_chance_and_guess(generator: torch.Generator) -> None:
    batch = TASK.sample(4000, 64, generator, split="test")
    asked = batch.targets[batch.targets != IGNORE]
    assert torch.bincount(asked).max() / len(asked) == pytest.approx(TASK.chance, abs=0.01)
    people = {"birthplace": 8, "birth_year": 30, "trade": 20, "teacher": 19, "home": 8, "employer": 4}
    assert TASK.guess == pytest.approx(sum(1 / n for n in people.values()) / 6)


def test_popular_people_are_taught_more(generator: torch.Generator) -> None:
    task = FactRecall(people=20, places=8, organisations=4, zipf=2.0, length=16)
    people = task.world.entities["person"]
    inputs = task.sample(500, 16, generator).inputs
    taught = [(inputs == task.words.index(person.name)).sum() for person in people if person.rank in (0, 1, 18, 19)]
    known = [int(count) for count in taught]
    assert max(known[:2]) > 4 * max(known[2:])  # who is a teacher of others is named beside


def test_a_small_model_learns_the_facts_and_does_not_know_the_unknown(generator: torch.Generator) -> None:
    from seqmem.models import SequenceConfig, SequenceLM
    from seqmem.training.evaluate import asked_logits, score

    task = FactRecall(people=6, places=4, organisations=2, length=24, told=0.3, unknown=0.34)
    torch.manual_seed(0)
    model = SequenceLM(SequenceConfig(task.vocab_size, 48, layers=["gru"], mlp_width=0))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(250):
        logits, targets = asked_logits(model, task.sample(16, 24, generator))
        torch.nn.functional.cross_entropy(logits, targets).backward()
        optimiser.step()
        optimiser.zero_grad()
    right = score(model, task, 24, 2048, "test")
    assert right["known"] > 0.9
    assert right["unknown"] < 0.5


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="task 'fact_recall': length=8, expected at least 1"):
        FactRecall(length=8)
    with pytest.raises(InputError, match=r"task 'fact_recall': told=0, expected a number above 0"):
        FactRecall(told=0)
    with pytest.raises(InputError, match=r"task 'fact_recall': told=1e-06 leaves nothing of one kind"):
        FactRecall(told=1e-6)
