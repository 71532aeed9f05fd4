"""Reber strings against the grammar as a regular expression, and their frequencies against its definition."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.reber import SYMBOLS, Reber, follows

THIRD = "(?:T*V(?:V|P(?:XT*VP)*(?:S|XT*VV)))"  # from state 3 to the last but one: 3 -T-> 3, -V-> 5, 5 -P-> 4, 4 -X-> 3
GRAMMAR = re.compile(f"B(?:TS*X(?:S|X{THIRD})|P{THIRD})E")


def word(tokens: list[int]) -> str:
    return "".join(SYMBOLS[token] for token in tokens)


def grammatical(text: str, embedded: bool) -> bool:
    if not embedded:
        return GRAMMAR.fullmatch(text) is not None
    inner = re.fullmatch(r"B([TP])(.*)\1E", text)
    return inner is not None and GRAMMAR.fullmatch(inner[2]) is not None


@pytest.mark.parametrize("length", [9, 20, 80])
def test_the_symbol_that_closes_is_asked_after_the_inner_string(generator: torch.Generator, length: int) -> None:
    batch = Reber().sample(200, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert grammatical(word(inputs), True), word(inputs)
        assert targets == [*[IGNORE] * (length - 3), inputs[1], IGNORE, IGNORE]
    assert follows(batch.inputs).all()


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("length", [9, 24])
def test_strings_that_are_asked_about(generator: torch.Generator, embedded: bool, length: int) -> None:
    batch = Reber(length=20, embedded=embedded, ask="valid").sample(400, length, generator)
    answers = [grammatical(word(inputs), embedded) for inputs in batch.inputs.tolist()]
    assert (batch.targets[:, -1] == torch.tensor(answers).long() + 7).all()
    assert 0.4 < sum(answers) / 400 < 0.6
    assert (batch.targets[:, :-1] == IGNORE).all()
    assert follows(batch.inputs, embedded=embedded).tolist() == answers


def test_strings_come_as_often_as_the_grammar_makes_them(generator: torch.Generator) -> None:
    """Of length 7, embedded in nothing: the product of a half per choice, over all strings of that length."""
    counts = Counter(word(row) for row in Reber(length=11).sample(20_000, 11, generator).inputs[:, 2:-2].tolist())
    expected = {  # choices at states 1 to 5, a half each
        "BTSSXSE": 2.0**-5, "BTXXVVE": 2.0**-5, "BPTTVVE": 2.0**-5, "BPTVPSE": 2.0**-5,
    }  # fmt: skip
    total = sum(expected.values())
    assert set(counts) == set(expected)
    for text, chance in expected.items():
        assert counts[text] / 20_000 == pytest.approx(chance / total, abs=0.015)


def test_bad_options_say_so(generator: torch.Generator) -> None:
    for options, says in (
        ({"length": 8}, "length=8 is too short, expected at least 9"),
        ({"length": 4, "embedded": False, "ask": "valid"}, "length=4 is too short, expected at least 5"),
        ({"embedded": False}, "ask='close' needs embedded=True"),
        ({"ask": "next"}, "unknown ask 'next'"),
    ):
        with pytest.raises(InputError, match=says):
            Reber(**options)  # type: ignore[arg-type]


def test_example_shows_question_and_answer(generator: torch.Generator) -> None:
    read, said = Reber().example(generator).split("? ->  ")
    assert grammatical(f"{read}{said}E", True)
    read, said = Reber(ask="valid").example(generator).split("? ->  ")
    assert grammatical(read, True) == (said == "yes")
