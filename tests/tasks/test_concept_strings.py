"""Strings of concepts against a reader that takes symbols apart."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.concept_strings import ASK, BLANK, ConceptStrings, meanings


@pytest.mark.parametrize("order", ["any", "cyclic", "fixed"])
@pytest.mark.parametrize("more", [0, 5])
def test_the_answers_are_what_the_string_said(generator: torch.Generator, order: str, more: int) -> None:
    task = ConceptStrings(concepts=3, values=4, order=order)  # type: ignore[arg-type]
    seen = {tuple(row) for row in task.combinations[0].tolist()}
    batch = task.sample(200, task.train_length + more, generator, split="test")
    assert batch.groups is not None
    assert batch.groups.sum() == 100
    orders = set()
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        body, questions = inputs[:-3], inputs[-3:]
        assert questions == [ASK] * 3
        said = [token - 2 for token in body if token != BLANK]  # a symbol: concept times four and value
        orders.add(tuple(symbol // 4 for symbol in said))
        assert targets == [IGNORE] * len(body) + [2 + symbol for symbol in sorted(said)]
        assert (tuple(symbol % 4 for symbol in sorted(said)) in seen) == (group == 0)
    allowed = {
        "any": set(itertools.permutations(range(3))),
        "cyclic": {(0, 1, 2), (1, 2, 0), (2, 0, 1)},
        "fixed": {(0, 1, 2)},
    }
    assert orders == allowed[order]


@pytest.mark.parametrize(("concepts", "values", "held_out"), [(4, 4, 0.3), (3, 5, 0.2), (2, 6, 1 / 6)])
def test_the_division(concepts: int, values: int, held_out: float) -> None:
    """No combination on both sides, all on one, as many of every diagonal, and no value that is never seen."""
    parts = ConceptStrings(concepts, values, held_out=held_out).combinations
    rows = [tuple(row) for part in parts for row in part.tolist()]
    assert len(set(rows)) == len(rows) == values**concepts == len(meanings(concepts, values))
    assert len(parts[1]) == pytest.approx(held_out * values**concepts, abs=values / 2)
    for part in parts:
        assert len(torch.bincount(part.sum(1) % values).unique()) == 1
    assert all(len(parts[0][:, c].unique()) == values for c in range(concepts))


def test_training_has_no_combination_of_the_test(generator: torch.Generator) -> None:
    task = ConceptStrings(concepts=3, values=2)
    batch = task.sample(2000, task.train_length, generator)
    assert batch.groups is not None
    assert not batch.groups.any()
    found = {tuple(row) for row in (batch.targets[:, -3:] - 2).tolist()}
    assert found == {tuple(row) for row in (task.combinations[0] + torch.tensor([0, 2, 4])).tolist()}


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    task = ConceptStrings()
    targets = task.sample(4000, task.train_length, generator).targets[:, -4:]
    for c in range(4):
        share = torch.bincount(targets[:, c] - 2 - 4 * c, minlength=4) / 4000
        assert float(share.max()) == pytest.approx(task.chance, abs=0.03)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concepts": 1}, "concepts=1, expected at least 2"),
        ({"values": 200}, "expected 1048576 combinations at most"),
        ({"order": "fix"}, "Did you mean 'fixed'"),
        ({"held_out": 1.0}, "held_out=1.0, expected a number above 0"),
        ({"held_out": 0.001}, "leaves none for tests"),
        ({"concepts": 2, "values": 2, "held_out": 0.5}, "a value that training never shows"),
        ({"length": 7}, "length=7 is too short for concepts=4, expected at least 8"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        ConceptStrings(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_example_names_every_concept(generator: torch.Generator) -> None:
    string, answer = ConceptStrings().example(generator).split("  -> ")
    assert sorted(string.split()) == answer.split()
    assert [word[0] for word in answer.split()] == ["a", "b", "c", "d"]
