"""Multi-query associative recall against a reader that does it in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.mqar import MQAR


def solve(inputs: list[int], pairs: int) -> dict[int, int]:
    """Position -> answer: read the pairs into a dictionary, then look up each of its keys where it next comes."""
    memory = {inputs[2 * i]: inputs[2 * i + 1] for i in range(pairs)}
    return {t: memory[token] for t, token in enumerate(inputs) if t >= 2 * pairs and token in memory}


@pytest.mark.parametrize("filler", ["noise", "blank"])
@pytest.mark.parametrize("length", [32, 33, 128])
def test_every_answer_is_the_value_that_followed_its_key(generator: torch.Generator, filler: str, length: int) -> None:
    task = MQAR(length=32, pairs=(3, 8), vocabulary=64, filler=filler)
    batch = task.sample(60, length, generator)
    assert batch.groups is not None
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        pairs = task.pairs[group]
        keys, values = inputs[: 2 * pairs : 2], inputs[1 : 2 * pairs : 2]
        assert len(set(keys)) == len(set(values)) == pairs
        assert all(1 <= key < 32 for key in keys)
        assert all(32 <= value < 64 for value in values)
        asked = {t: target for t, target in enumerate(targets) if target != IGNORE}
        assert asked == solve(inputs, pairs)  # noise holds no key of its own example, so nothing else could be asked
        assert len(asked) == pairs
        assert all(t % 2 == 0 for t in asked)
        if filler == "blank":
            assert Counter(inputs)[0] == length - 3 * pairs


def test_noise_uses_the_whole_vocabulary(generator: torch.Generator) -> None:
    task = MQAR(length=64, pairs=2, vocabulary=16)
    assert set(task.sample(200, 64, generator).inputs.unique().tolist()) == set(range(16))


def test_all_keys_and_values_are_used_equally(generator: torch.Generator) -> None:
    task = MQAR(length=16, pairs=4, vocabulary=18)  # keys 1..8, values 9..17
    inputs = task.sample(18_000, 16, generator).inputs
    for tokens, low, count in ((inputs[:, 0:8:2], 1, 8), (inputs[:, 1:8:2], 9, 9)):
        for place in range(4):  # in each place, not only over all: the order is random too
            share = torch.bincount(tokens[:, place] - low, minlength=count) / 18_000
            sigma = (1 / count * (1 - 1 / count) / 18_000) ** 0.5
            assert len(share) == count
            assert (share - 1 / count).abs().max() < 5 * sigma


@pytest.mark.parametrize("power_a", [0.01, 1.0])
def test_gaps_follow_the_power_law(generator: torch.Generator, power_a: float) -> None:
    """With one pair the place of its query has exactly the law's probabilities."""
    task = MQAR(length=64, pairs=1, power_a=power_a)
    rows, slots = 20_000, 31
    _, asked = (task.sample(rows, 64, generator).targets != IGNORE).nonzero(as_tuple=True)
    seen = torch.bincount((asked - 2) // 2, minlength=slots).numpy() / rows
    law = power_a * np.arange(1, slots + 1) ** (power_a - 1)
    law /= law.sum()
    assert np.abs(seen - law).max() < 5 * np.sqrt(law.max() / rows)
    if power_a < 1:
        assert seen[0] > 5 * seen[10] > 0


def test_gaps_are_drawn_without_replacement_in_sequence(generator: torch.Generator) -> None:
    """With two pairs, the joint law of the two slots is that of two draws one after the other."""
    task = MQAR(length=10, pairs=2, filler="blank", test_lengths=[10])
    rows = 40_000
    batch = task.sample(rows, 10, generator)
    later = batch.inputs[:, 4:10:2]  # (rows, slot): three slots
    first = (later == batch.inputs[:, 0, None]).nonzero()[:, 1]
    second = (later == batch.inputs[:, 2, None]).nonzero()[:, 1]
    law = np.arange(1, 4) ** -0.99
    law /= law.sum()
    for i in range(3):
        for j in range(3):
            expected = 0.0 if i == j else law[i] * law[j] / (1 - law[i])
            seen = ((first == i) & (second == j)).float().mean().item()
            assert seen == pytest.approx(expected, abs=5 * np.sqrt(0.25 / rows))


@pytest.mark.parametrize("batch_size", [1, 2, 9, 10])
def test_pair_counts_are_mixed_evenly(generator: torch.Generator, batch_size: int) -> None:
    task = MQAR(length=64, pairs=[4, 8, 16])
    assert task.slices == ("pairs=4", "pairs=8", "pairs=16")
    groups = torch.cat([task.sample(batch_size, 64, generator).groups for _ in range(60)])  # type: ignore[misc]
    assert set(groups.tolist()) == {0, 1, 2}  # however small the batch, no count is left out for ever
    one = torch.bincount(task.sample(batch_size, 64, generator).groups, minlength=3)  # type: ignore[arg-type]
    assert one.max() - one.min() <= 1


def test_the_vocabulary_grows_with_the_pairs_unless_it_is_given() -> None:
    assert MQAR().vocab_size == 32
    assert MQAR(length=128, pairs=(4, 8, 16)).vocab_size == 64
    assert MQAR(length=256, pairs=64).vocab_size == 256
    assert MQAR(vocabulary=50).vocab_size == 50


def test_values_may_repeat_when_they_may(generator: torch.Generator) -> None:
    task = MQAR(length=32, pairs=8, vocabulary=20, distinct_values=False)
    values = task.sample(50, 32, generator).inputs[:, 1:16:2]
    assert any(len(set(row)) < 8 for row in values.tolist())


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    task = MQAR(length=64, pairs=(4, 7), vocabulary=16)
    targets = task.sample(5000, 64, generator).targets
    targets = targets[targets != IGNORE]
    best = torch.bincount(targets).max().item() / len(targets)
    assert best == pytest.approx(task.chance, abs=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pairs": "4"}, "pairs='4' is of type str, expected a whole number"),
        ({"pairs": [4, True]}, "pairs=True is of type bool"),
        ({"pairs": []}, "pairs is empty"),
        ({"pairs": [4, 4]}, "names a number twice"),
        ({"pairs": 0}, "expected at least 1"),
        ({"pairs": 17}, "length=64 is too short for 17 pairs, expected at least 68"),
        ({"pairs": 8, "vocabulary": 17}, "has 7 keys, too few for 8 pairs, expected at least 18"),
        ({"length": 0}, "length=0, expected at least 1"),
        ({"length": 64.0}, "length=64.0 is of type float"),
        ({"vocabulary": 3, "pairs": 1}, "vocabulary=3 has 0 keys, too few for 1 pairs, expected at least 4"),
        ({"vocabulary": -1}, "vocabulary=-1"),
        ({"power_a": 0}, "power_a=0, expected a number above 0"),
        ({"power_a": "0.1"}, "power_a='0.1'"),
        ({"power_a": float("nan")}, "power_a=nan"),
        ({"filler": "nois"}, "Did you mean 'noise'"),
        ({"distinct_values": 1}, "distinct_values=1, expected true or false"),
        ({"test_lengths": [64, 16]}, "length=16 is too short for 8 pairs"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        MQAR(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_too_short_a_request_says_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="length=31 is too short for 8 pairs"):
        MQAR(pairs=8).sample(2, 31, generator)


def test_example_shows_keys_as_letters_and_the_answers(generator: torch.Generator) -> None:
    opening, later = MQAR(pairs=4).example(generator).split("|")
    bindings = dict(word.split("=") for word in opening.split())
    assert len(bindings) == 4
    words = later.split()
    asked = {words[i - 1].rstrip("?"): words[i + 1] for i, word in enumerate(words) if word == "->"}
    assert asked == bindings
