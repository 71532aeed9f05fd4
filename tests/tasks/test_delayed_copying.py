"""Delayed copying against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.delayed_copying import DelayedCopying


@pytest.mark.parametrize("length", [6, 20, 80])
def test_the_same_symbols_are_asked_after_any_delay(generator: torch.Generator, length: int) -> None:
    task = DelayedCopying(length=20, symbols=3, vocabulary=4)
    batch = task.sample(40, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        symbols = inputs[:3]
        assert all(2 <= token < task.vocab_size == 6 for token in symbols)
        assert inputs == [*symbols, *[0] * (length - 6), 1, 1, 1]
        assert targets == [*[IGNORE] * (length - 3), *symbols]


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    targets = DelayedCopying().sample(500, 40, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(DelayedCopying().chance, abs=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"length": 19}, "length=19 is too short for symbols=10, expected at least 20"),
        ({"symbols": 0}, "symbols=0, expected at least 1"),
        ({"vocabulary": 1}, "vocabulary=1, expected at least 2"),
    ],
)
def test_bad_options_say_so(options: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        DelayedCopying(**options)


def test_example_shows_question_and_answer(generator: torch.Generator) -> None:
    read, said = DelayedCopying(length=12, symbols=3).example(generator).split("->")
    assert [word for word in read.split("|")[0].split() if word != "."] == said.split()
