"""Copying, selective copying and parity against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE, Task
from seqmem.tasks.copying import Copying
from seqmem.tasks.parity import Parity
from seqmem.tasks.selective_copying import SelectiveCopying


@pytest.mark.parametrize("length", [2, 12, 48])
def test_copying_asks_for_the_string_that_stands_before_the_separator(generator: torch.Generator, length: int) -> None:
    task = Copying(length=12, vocabulary=5)
    batch = task.sample(40, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        string = inputs[: inputs.index(0)]
        assert len(string) == length // 2
        assert all(2 <= token < task.vocab_size == 7 for token in string)
        assert inputs == [*string, 0, *[1] * (len(string) - 1)]
        assert targets == [*[IGNORE] * len(string), *string]


@pytest.mark.parametrize("length", [8, 20, 80])
def test_selective_copying_asks_for_what_is_not_blank(generator: torch.Generator, length: int) -> None:
    task = SelectiveCopying(length=20, symbols=4, vocabulary=6)
    batch = task.sample(40, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        body, questions = inputs[:-4], inputs[-4:]
        assert questions == [1, 1, 1, 1]
        symbols = [token for token in body if token != 0]
        assert all(2 <= token < task.vocab_size == 8 for token in symbols)
        assert targets == [*[IGNORE] * len(body), *symbols]


def test_selective_copying_chooses_every_set_of_places_equally(generator: torch.Generator) -> None:
    task = SelectiveCopying(length=8, symbols=3, test_lengths=[8])  # 3 of 5 places: 10 sets
    rows = 20_000
    body = task.sample(rows, 8, generator).inputs[:, :5] != 0
    sets = (body.long() * 2 ** torch.arange(5)).sum(dim=1)
    counts = torch.bincount(sets)
    counts = counts[counts > 0]
    assert len(counts) == 10
    assert (counts / rows - 0.1).abs().max() < 5 * (0.09 / rows) ** 0.5


def test_parity_counts_the_ones(generator: torch.Generator) -> None:
    batch = Parity(length=10).sample(30, 40, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [sum(inputs[: t + 1]) % 2 for t in range(40)]


def test_parity_may_ask_at_the_end_only(generator: torch.Generator) -> None:
    batch = Parity(length=10, every_position=False).sample(30, 10, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [*[IGNORE] * 9, sum(inputs) % 2]


@pytest.mark.parametrize("task", [Copying(vocabulary=6), SelectiveCopying(vocabulary=6), Parity()], ids=repr)
def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator, task: Task) -> None:
    targets = task.sample(2000, task.train_length, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(task.chance, abs=0.02)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Copying(length=0), "length=0"),
        (lambda: Copying(length=63), "length=63 is odd"),
        (lambda: Copying(length=True), "length=True is of type bool"),
        (lambda: Copying(vocabulary=1), "vocabulary=1, expected at least 2"),
        (lambda: Copying(test_lengths=[64, 65]), "length=65 is odd"),
        (lambda: SelectiveCopying(symbols=33), "length=64 is too short for symbols=33, expected at least 66"),
        (lambda: SelectiveCopying(symbols="8"), "symbols='8' is of type str"),
        (lambda: SelectiveCopying(vocabulary=None), "vocabulary=None"),
        (lambda: Parity(length=-1), "length=-1"),
        (lambda: Parity(every_position="yes"), "every_position='yes', expected true or false"),
        (lambda: Parity(test_lengths="128"), "test_lengths='128'"),
    ],
)
def test_bad_options_say_so(make, says: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_examples_show_question_and_answer(generator: torch.Generator) -> None:
    read, said = Copying(length=8).example(generator).split("->")
    assert read.split("|")[0].split() == said.split()
    read, said = SelectiveCopying(length=16, symbols=3).example(generator).split("->")
    assert [word for word in read.split("|")[0].split() if word != "."] == said.split()
    bits, answers = Parity(length=6).example(generator).splitlines()
    ones = 0
    for bit, answer in zip(bits.split()[1:], answers.split()[1:], strict=True):
        ones += int(bit)
        assert int(answer) == ones % 2
