"""Embers: rows against solvers that read the text alone, shares, slices, chance."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.embers import Embers
from seqmem.tasks.string_tasks import KINDS, Grammar
from tests.tasks.test_string_tasks import SOLVERS

LENGTHS = {"birthdays": 240, "counting": 240, "pig_latin": 160}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_hold_text_or_a_task_and_its_answer(generator: torch.Generator, kind: str, split: str) -> None:
    length = LENGTHS.get(kind, 80)
    task, english = Embers(kind, length=length), Grammar()
    batch = task.sample(60, length, generator, split=split)  # type: ignore[arg-type]
    assert batch.groups is not None
    texts = 0
    for inputs, targets, group in zip(*(part.tolist() for part in batch), strict=True):
        row = bytes(inputs).decode() + (chr(targets[-1]) if targets[-1] != IGNORE else "")
        asked = [n for n, target in enumerate(targets) if target != IGNORE]
        assert asked == list(range(asked[0], asked[-1] + 1))
        assert [ord(row[n + 1]) for n in asked if n + 1 < len(row)] == [targets[n] for n in asked][: len(row) - 1]
        if "=" not in row:
            texts += 1
            assert asked == list(range(length))
            whole = row.split("\n")[1:-1]
            assert all(english.log_probability(sentence) > -99 for sentence in whole)
            continue
        given, _, rest = row.partition("=")
        variant, _, text = given.partition(":")
        answer = SOLVERS[kind, variant](text)
        assert asked[0] == len(given)
        assert bytes(targets[n] for n in asked).decode() == answer + "\n"
        assert set(rest[len(answer) :]) <= {"\n"}
        assert group // 2 == (variant != KINDS[kind].common)
        if kind in ("shift", "keyboard", "reversal") and group % 2 == 0:
            assert english.log_probability(answer) > -99
    assert texts == 0 if split != "train" else 15 <= texts <= 45
    counts = Counter(batch.groups.tolist())
    assert split != "test" or set(counts.values()) == {15}


def test_variants_have_their_shares(generator: torch.Generator) -> None:
    task = Embers(common=0.5, text=0.0)
    assert float(task.shares.sum()) == pytest.approx(1)
    assert task.shares[1] / task.shares[4] == pytest.approx(4)
    assert len(task.variants) == 25
    batch = task.sample(2000, 80, generator)
    shifts = Counter(bytes(row).decode().partition(":")[0] for row in batch.inputs.tolist())
    for name, share in zip(task.variants, task.shares.tolist(), strict=True):
        assert shifts[name] / 2000 == pytest.approx(share, abs=0.03)


def test_chance_is_that_of_the_commonest_byte(generator: torch.Generator) -> None:
    for kind in ("shift", "linear"):
        task = Embers(kind)
        targets = task.sample(2000, 80, generator, split="test").targets
        counts = targets[targets != IGNORE].bincount()
        assert float(counts.max() / counts.sum()) == pytest.approx(task.chance, abs=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "shfit"}, "unknown kind 'shfit'. Did you mean 'shift'?"),
        ({"common": 1.5}, "common=1.5, expected a number from 0 to 1"),
        ({"text": True}, "text=True, expected a number"),
        ({"length": 12}, "length=12 is too short for kind='shift'"),
        ({"kind": "birthdays"}, "length=80 is too short for kind='birthdays'"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Embers(**options)
    assert str(error.value).startswith("task 'embers': ")
    assert says in str(error.value)


def test_example_shows_the_answer(generator: torch.Generator) -> None:
    given, _, rest = Embers().example(generator).partition("=  ->  ")
    variant, _, text = given.partition(":")
    answer, _, group = rest.partition("   (")
    assert answer == SOLVERS["shift", variant](text)
    assert group.removesuffix(")") in Embers().slices
