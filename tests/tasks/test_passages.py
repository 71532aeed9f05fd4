"""Passages: every example against the text it is made of, and what is held out."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.passages import BLANK, EQUALS, FIRST_MARK, QUESTION, RECITE, SELECT, WRITE, Passages

SMALL = {"passages": 9, "held_out": 4, "sentences": 3, "tokens": 2, "vocabulary": 11}


@pytest.mark.parametrize("writing", ["plain", "permuted", "none"])
@pytest.mark.parametrize("reading", ["selective", "recited"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_examples_say_the_passage(generator: torch.Generator, writing: str, reading: str, split: str) -> None:
    task = Passages(**SMALL, writing=writing, reading=reading)  # type: ignore[arg-type]
    text = task.text().tolist()
    batch = task.sample(300, task.train_length, generator, split=split)  # type: ignore[arg-type]
    assert batch.groups is not None
    names, fronts = {group: set() for group in range(5)}, set()
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        said = [token for token in inputs if token != BLANK]
        end = len(said)
        assert set(inputs[end:]) <= {BLANK}
        assert targets[end:] == [IGNORE] * (len(targets) - end)
        said.append(targets[end - 1])
        mode, name, equals, *rest = said
        names[group].add(name - task.first_name)
        sentences = text[name - task.first_name]
        whole = [token for s in sentences for token in s]
        assert equals == EQUALS
        asked = [2 + n for n in range(len(rest))]
        if group == 0:
            first = next(s for s in sentences if rest[: len(s)] == s)
            fronts.add(first[0])
            assert mode == WRITE
            assert rest == first + [token for s in sentences if s != first for token in s]
        elif group == 1:
            assert (mode, rest) == (RECITE, whole)
        else:
            sentence = sentences[group - 2]
            assert sentence[0] == FIRST_MARK + group - 2
            if reading == "recited":
                assert (mode, rest) == (RECITE, [*whole, QUESTION, *sentence])
                asked = [n for n in asked if n not in (2 + len(whole), 3 + len(whole))]
            else:
                assert (mode, rest) == (SELECT, sentence)
                asked = asked[1:]
        assert [n for n, target in enumerate(targets) if target != IGNORE] == asked
        assert all(targets[n] == said[n + 1] for n in asked)
    readable = set(range(5, 9)) if split == "test" else set(range(5))
    assert all(names[group] == readable for group in range(1, 5))
    if split == "train" and writing != "none":
        assert (batch.groups == 0).double().mean() == 0.5
        assert names[0] == set(range(9))
        assert fronts == {FIRST_MARK + n for n in range(3 if writing == "permuted" else 1)}
    else:
        assert not names[0]


def test_the_table_is_the_same_until_another_is_asked_for() -> None:
    assert torch.equal(Passages().text(), Passages(writing="permuted").text())
    assert not torch.equal(Passages().text(), Passages(table=1).text())


def test_kinds_come_in_turns(generator: torch.Generator) -> None:
    batch = Passages().sample(320, 22, generator, split="test")
    assert batch.groups is not None
    assert torch.bincount(batch.groups).tolist() == [0, 160, 40, 40, 40, 40]


def test_chance_is_what_a_blind_guess_of_a_word_scores(generator: torch.Generator) -> None:
    task = Passages(passages=2000, vocabulary=8)
    targets = task.sample(4000, task.train_length, generator).targets
    words = targets[targets >= task.first_word]
    assert torch.bincount(words).max().item() / len(words) == pytest.approx(task.chance, abs=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"held_out": 0}, "held_out=0, expected at least 1"),
        ({"held_out": 120}, "leaves none to be read"),
        ({"vocabulary": 1}, "vocabulary=1, expected at least 2"),
        ({"writing": "permute"}, "Did you mean 'permuted'"),
        ({"reading": "recite"}, "Did you mean 'recited'"),
        ({"table": -1}, "table=-1"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Passages(**options)
    assert says in str(error.value)
    with pytest.raises(InputError, match="length=30, expected 22"):
        Passages().sample(2, 30, torch.Generator())


def test_example_shows_a_passage_and_its_sentence(generator: torch.Generator) -> None:
    whole, sentence = Passages().example(generator).split("  ")
    mode, name, equals, mark, *words = sentence.split()
    assert (mode, equals) == ("select", "=")
    assert f"recite {name} = " in whole
    assert " ".join([mark, *words]) in whole
