"""Stories against a reader that follows them, in words and plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.stories import Stories, flat, written

KINDS = ("one", "two", "three", "north")
HANDLES = {"took": True, "grabbed": True, "dropped": False, "left": False}


def solve(story: list[str], question: str) -> str | None:
    """The answer, or None where the sentences do not say it."""
    at: dict[str, str] = {}
    has: dict[str, str] = {}  # thing -> person
    been: dict[str, list[str]] = {}  # thing -> places, in order
    north: list[tuple[str, str]] = []  # a is north of b

    def seen(thing: str, place: str | None) -> None:
        if place and been.setdefault(thing, [])[-1:] != [place]:
            been[thing].append(place)

    for sentence in story:
        words = sentence.split()
        if words[0] == "the":
            north.append((words[1], words[6]))
        elif words[1] in HANDLES:
            person, thing = words[0], words[3]
            seen(thing, at.get(person))
            has[thing] = person
            if not HANDLES[words[1]]:
                del has[thing]
        else:
            person, at[person] = words[0], words[4]
            for thing in [thing for thing, holder in has.items() if holder == person]:
                seen(thing, words[4])
    asked = question.split()
    if asked[:2] == ["where", "was"]:
        places = been.get(asked[3], [])
        assert not places or len(places) < 2 or places[-1] == asked[6]
        return places[-2] if len(places) > 1 else None
    if asked[:3] == ["where", "is", "the"]:
        return been.get(asked[3], [None])[-1]
    if asked[0] == "where":
        return at.get(asked[2])
    found = [a for a, b in north if b == asked[-1]] if asked[2] == "north" else [b for a, b in north if a == asked[3]]
    return found[0] if len(found) == 1 else None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sentences", [4, 10, 25])
def test_the_answer_follows_from_the_story(generator: torch.Generator, kind: str, sentences: int) -> None:
    task = Stories(kinds=kind)
    told = task.told(150, sentences, generator)
    for n in range(150):
        story = [written(sentence) for sentence in told.sentences[n].tolist()]
        question, answer = written(told.question[n].tolist()), task.words[int(told.answer[n])]
        assert solve(story, question) == answer
        support = [fact for fact in told.support[n].tolist() if fact >= 0]
        assert len(support) == {"one": 1, "two": 2, "three": 3, "north": 1}[kind]
        assert len(set(support)) == len(support)


@pytest.mark.parametrize("kind", KINDS)
def test_the_supporting_facts_are_enough_and_each_is_needed(generator: torch.Generator, kind: str) -> None:
    task = Stories(kinds=kind)
    told = task.told(150, 12, generator)
    for n in range(150):
        story = [written(sentence) for sentence in told.sentences[n].tolist()]
        question, answer = written(told.question[n].tolist()), task.words[int(told.answer[n])]
        support = sorted(fact for fact in told.support[n].tolist() if fact >= 0)
        assert solve([story[fact] for fact in support], question) == answer
        for missing in support:
            assert solve([story[fact] for fact in support if fact != missing], question) != answer


def test_facts_come_in_the_order_of_the_reasoning(generator: torch.Generator) -> None:
    """The first says who has the thing; the second is a walk of theirs, the third an earlier one."""
    for kind in ("two", "three"):
        task = Stories(kinds=kind)
        told = task.told(50, 12, generator)
        for n in range(50):
            lines = [written(told.sentences[n, fact].tolist()) for fact in told.support[n].tolist() if fact >= 0]
            who, thing = lines[0].split()[0], lines[0].split()[-1]
            assert thing in written(told.question[n].tolist()).split()
            assert all(line.split()[0] == who and line.split()[2:4] == ["to", "the"] for line in lines[1:])
            if kind == "three":
                assert told.support[n, 2] < told.support[n, 1]


def test_north_needs_the_order_of_the_words(generator: torch.Generator) -> None:
    """As bags of words, the two questions are one, and so are a sentence and its reverse: a reader of bags knows the
    two places that are named beside the one that is asked about, and guesses."""
    task = Stories(kinds="north")
    told = task.told(400, 6, generator)
    assert len({tuple(sorted(q)) for q in told.question[told.question[:, 3] != 0].tolist()}) == 6  # one for each place
    asked_north = told.question[:, 2] == task.words.index("north")
    assert asked_north.float().mean() == pytest.approx(0.5, abs=0.1)


def test_one_row_of_words_is_the_story(generator: torch.Generator) -> None:
    task = Stories(kinds=KINDS)
    told = task.told(40, 10, generator)
    batch = flat(told, 88)
    for n, row in enumerate(batch.inputs.tolist()):
        lines = [f"{written(sentence)} ." for sentence in told.sentences[n].tolist()]
        lines.append(f"{written(told.question[n].tolist())} ?")
        text = " ".join(lines)
        assert written(row) == text
        assert row == [0] * (88 - len(text.split())) + row[88 - len(text.split()) :]
        assert batch.targets[n].tolist() == [IGNORE] * 87 + [int(told.answer[n])]
    assert torch.equal(batch.inputs[:, -20:], flat(told, 20).inputs)


def test_people_things_and_places_are_used_equally(generator: torch.Generator) -> None:
    task = Stories(kinds="one")
    told = task.told(6000, 8, generator)
    share = torch.bincount(told.answer, minlength=task.vocab_size)[5:11] / 6000
    assert (share - task.chance).abs().max() < 5 * (task.chance * (1 - task.chance) / 6000) ** 0.5
    assert set(told.sentences.unique().tolist()) < set(range(task.vocab_size))


def test_kinds_are_mixed_evenly(generator: torch.Generator) -> None:
    task = Stories(kinds=["two", "north"])
    assert task.slices == ("kind=two", "kind=north")
    told = task.told(11, 6, generator)
    counts = torch.bincount(told.groups)
    assert counts.tolist() in ([5, 6], [6, 5])
    assert all("north" in written(q) for q in told.question[told.groups == 1].tolist())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kinds": "tow"}, "unknown kinds 'tow'. Did you mean 'two'"),
        ({"kinds": []}, "kinds=[], expected one or more"),
        ({"kinds": ["one", "one"]}, "each once"),
        ({"length": 39}, "has room for 3 sentences, expected at least 4: length=40"),
        ({"length": 88.0}, "is of type float"),
        ({"test_lengths": [16]}, "length=16 has room for 1 sentences"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Stories(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_sentences_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="sentences=3, expected at least 4"):
        Stories().told(2, 3, generator)


def test_example_marks_the_facts(generator: torch.Generator) -> None:
    *story, question = Stories(kinds="two").example(generator).splitlines()
    asked, answer = question.strip().split("? -> ")
    facts = [line[2:].rstrip(".") for line in story if line.startswith("*")]
    assert len(facts) == 2
    assert solve(facts, asked) == answer
