"""In-context recall with keys of one token, of several, and of two that only count together, against plain Python."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.compositional_recall import CompositionalRecall
from seqmem.tasks.fuzzy_recall import ASK, FIRST_KEY, FuzzyRecall
from seqmem.tasks.in_context_recall import InContextRecall


@pytest.mark.parametrize("length", [64, 65, 256])
def test_a_key_that_comes_again_is_asked(generator: torch.Generator, length: int) -> None:
    task = InContextRecall(keys=6, values=5)
    batch = task.sample(40, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        known: dict[int, int] = {}
        t = 0
        while t < length:
            if inputs[t] == task.keys + task.values:  # the one step that is left over
                assert length % 2
                assert targets[t] == IGNORE
                t += 1
                continue
            key, value = inputs[t : t + 2]
            assert key < task.keys <= value < task.keys + task.values
            assert targets[t : t + 2] == [known.get(key, IGNORE), IGNORE]
            assert known.setdefault(key, value) == value
            t += 2


@pytest.mark.parametrize("options", [{}, {"keys": 3, "key_tokens": 3, "key_size": 4, "value_size": 1}])
@pytest.mark.parametrize("length", [128, 131])
def test_fuzzy_keys_have_their_values(generator: torch.Generator, options: dict[str, int], length: int) -> None:
    task = FuzzyRecall(**options)
    first_value = FIRST_KEY + task.key_tokens
    sizes: Counter[tuple[int, int]] = Counter()
    for inputs, targets in zip(*(part.tolist() for part in task.sample(60, length, generator)[:2]), strict=True):
        known: dict[tuple[int, ...], list[int]] = {}
        t = inputs.count(0)
        assert inputs[:t] == [0] * t
        assert targets[:t] == [IGNORE] * t
        while t < length:
            asked_at = inputs.index(ASK, t)
            key = tuple(inputs[t:asked_at])
            assert all(FIRST_KEY <= token < first_value for token in key)
            end = asked_at + 1
            while end < length and inputs[end] >= first_value:
                end += 1
            value = inputs[asked_at + 1 : end]
            assert targets[t:asked_at] == [IGNORE] * len(key)
            assert targets[asked_at:end] == [*(value if key in known else [IGNORE] * len(value)), IGNORE]
            assert known.setdefault(key, value) == value
            sizes[len(key), len(value)] += 1
            t = end
        assert 1 <= len(known) <= task.keys
    assert sizes.keys() == {(k + 1, v + 1) for k in range(task.key_size) for v in range(task.value_size)}
    assert min(sizes.values()) > 0.4 * max(sizes.values())


def test_fuzzy_fills_the_row(generator: torch.Generator) -> None:
    blanks = (FuzzyRecall().sample(500, 128, generator).inputs == 0).sum(1)
    assert blanks.max() < 7  # the longest pair would have fitted


def test_a_guess_at_a_fuzzy_value(generator: torch.Generator) -> None:
    asked = FuzzyRecall().sample(2000, 128, generator).targets
    share = torch.bincount(asked[asked != IGNORE]) / (asked != IGNORE).sum()
    assert share.max() == pytest.approx(FuzzyRecall().chance, abs=0.01)


@pytest.mark.parametrize(("side", "length"), [(2, 64), (3, 64), (2, 25)])
def test_a_pair_of_tokens_has_its_value(generator: torch.Generator, side: int, length: int) -> None:
    task = CompositionalRecall(side=side)
    kinds = [range(1 + k * task.vocabulary, 1 + (k + 1) * task.vocabulary) for k in range(3)]
    for inputs, targets in zip(*(part.tolist() for part in task.sample(50, length, generator)[:2]), strict=True):
        opening = 3 * side**2
        value_of = {(inputs[t], inputs[t + 1]): inputs[t + 2] for t in range(0, opening, 3)}
        assert len(value_of) == len(set(value_of.values())) == side**2
        for part, kind in zip(range(2), kinds, strict=False):
            assert set(Counter(key[part] for key in value_of).values()) == {side}
            assert all(key[part] in kind for key in value_of)
        assert all(value in kinds[2] for value in value_of.values())
        asked = [t for t in range(length) if targets[t] != IGNORE]
        assert {(inputs[t - 1], inputs[t]) for t in asked} == value_of.keys()
        assert all(targets[t] == value_of[inputs[t - 1], inputs[t]] for t in asked)
        assert sum(token != 0 for token in inputs[opening:]) == 2 * side**2
        assert min(asked) > opening


def test_one_token_of_the_key_is_not_enough(generator: torch.Generator) -> None:
    """A reader that answers with the latest value of the key's second token scores what the class says."""
    task = CompositionalRecall(side=2)
    right = total = 0
    for inputs, targets in zip(*(part.tolist() for part in task.sample(2000, 64, generator)[:2]), strict=True):
        value_of = {inputs[t + 1]: inputs[t + 2] for t in range(0, 12, 3)}
        for token, answer in zip(inputs, targets, strict=True):
            if answer != IGNORE:
                right, total = right + (value_of[token] == answer), total + 1
    assert right / total == pytest.approx(task.one_token_accuracy, abs=0.02)


def test_examples_can_be_read() -> None:
    def shown(task: InContextRecall | FuzzyRecall | CompositionalRecall) -> str:
        return task.example(torch.Generator().manual_seed(0))

    assert shown(InContextRecall(length=12, keys=2, test_lengths=(12,))).count("?") >= 3
    assert "=" in shown(FuzzyRecall())
    assert "?" in shown(FuzzyRecall())
    told, asked = shown(CompositionalRecall()).split("  |  ")
    assert told.count("=") == asked.count("?") == 4


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="task 'in_context_recall': length=16 has 8 pairs, expected more than the 8"):
        InContextRecall(length=16)
    with pytest.raises(InputError, match="key_tokens=3, expected at least keys=4"):
        FuzzyRecall(key_tokens=3)
    with pytest.raises(InputError, match="length=30, expected at least 35: room for one pair more, of 7 steps"):
        FuzzyRecall(length=30)
    with pytest.raises(InputError, match="length=64 is too short for side=4, expected at least 96"):
        CompositionalRecall(side=4)
    with pytest.raises(InputError, match="vocabulary=3, expected at least 4"):
        CompositionalRecall(vocabulary=3)
