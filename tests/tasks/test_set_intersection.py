"""Two lists with one item in common, against a reader in plain Python."""

from __future__ import annotations

import re

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.set_intersection import ASK, FIRST, SECOND, SetIntersection


@pytest.mark.parametrize("order", ["short_first", "long_first", "both"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_answer_is_the_one_item_in_both(generator: torch.Generator, order: str, times: int) -> None:
    task = SetIntersection(long=12, short=4, vocabulary=40, order=order, times=times)  # type: ignore[arg-type]
    for items in (12, 30):
        batch = task.sample(40, task.length_of(items), generator)
        assert batch.groups is not None
        for inputs, targets, group in zip(
            batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
        ):
            told = inputs[:-1]
            once = told[: len(told) // times]
            assert told == once * times
            assert inputs[-1] == ASK
            cut = once.index(SECOND)
            assert once[0] == FIRST
            first, second = once[1:cut], once[cut + 1 :]
            assert (len(first), len(second)) == ((4, items) if task.slices[group] == "short_first" else (items, 4))
            assert len(set(first)) == len(first)
            assert len(set(second)) == len(second)
            assert min(first + second) >= 3
            assert max(first + second) < task.vocab_size
            assert set(first) & set(second) == {targets[-1]}
            assert targets[:-1] == [IGNORE] * (len(inputs) - 1)


def test_both_orders_come_equally_often(generator: torch.Generator) -> None:
    groups = SetIntersection(long=8).sample(100, SetIntersection(long=8).train_length, generator).groups
    assert groups is not None
    assert torch.bincount(groups).tolist() == [50, 50]


def test_the_answer_may_stand_anywhere_and_be_any_item(generator: torch.Generator) -> None:
    task = SetIntersection(long=6, short=3, vocabulary=10, order="short_first")
    batch = task.sample(9000, task.train_length, generator)
    answer = batch.targets[:, -1]
    for place in (*range(1, 4), *range(5, 11)):
        share = (batch.inputs[:, place] == answer).float().mean().item()
        assert share == pytest.approx(1 / 3 if place < 4 else 1 / 6, abs=0.025)
    assert (torch.bincount(answer - 3, minlength=10) / 9000 - 0.1).abs().max() < 0.02
    assert task.chance == 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"short": 0}, "short=0, expected at least 1"),
        ({"long": 3}, "long=3 with short=4 of 256 items, expected 4 to 253"),
        ({"long": 254}, "long=254 with short=4 of 256 items, expected 4 to 253"),
        ({"order": "short"}, "unknown order 'short'. Did you mean 'short_first'"),
        ({"times": 0}, "times=0, expected at least 1"),
        ({"test_lengths": [60]}, ""),
        ({"times": 2, "test_lengths": [60]}, "length=60 fits no long list of 4 to 253 items"),
        ({"test_lengths": [600]}, "length=600 fits no long list of 4 to 253 items"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    if not says:
        assert SetIntersection(**options).test_lengths == (55, 60)
        return
    with pytest.raises(InputError, match=re.escape(says)):
        SetIntersection(**options)


def test_the_example_can_be_checked_by_hand(generator: torch.Generator) -> None:
    told, answer = SetIntersection(long=8).example(generator).split(" -> ")
    first, second = told.strip("( ?").split(" | ")
    assert set(first.split()) & set(second.split()) == {answer}
