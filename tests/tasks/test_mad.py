"""Noisy recall and memorization against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.memorization import Memorization
from seqmem.tasks.noisy_recall import NoisyRecall


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("length", [48, 64, 65])
def test_a_key_that_comes_again_is_asked(generator: torch.Generator, noise: float, length: int) -> None:
    task = NoisyRecall(length=64, keys=6, values=5, noise=noise, noise_tokens=3)
    batch = task.sample(40, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        known: dict[int, int] = {}
        t = pairs = 0
        while t < length:
            if inputs[t] >= task.keys + task.values:
                assert targets[t] == IGNORE
                t += 1
                continue
            key, value = inputs[t], inputs[t + 1]
            assert key < task.keys <= value < task.keys + task.values
            assert targets[t] == (value if key in known else IGNORE)
            assert targets[t + 1] == IGNORE
            assert known.setdefault(key, value) == value
            t += 2
            pairs += 1
        assert pairs == int((1 - noise) * length / 2)


def test_values_are_drawn_anew_and_noise_lies_anywhere(generator: torch.Generator) -> None:
    task = NoisyRecall(noise=0.5, keys=4)
    batch = task.sample(3000, 64, generator)
    noisy = (batch.inputs >= task.keys + task.values).double().mean(0)
    assert (noisy - 0.5).abs()[2:-2].max() < 0.06
    asked = batch.targets[batch.targets != IGNORE]
    assert torch.bincount(asked).max() / len(asked) == pytest.approx(task.chance, abs=0.02)


def test_facts_stay(generator: torch.Generator) -> None:
    task = Memorization(facts=20, values=4)
    seen: dict[int, int] = {}
    for length in (32, 64):
        batch = task.sample(30, length, generator)
        assert (batch.inputs[:, 1::2] == task.blank).all()
        assert (batch.targets[:, ::2] == IGNORE).all()
        for key, value in zip(
            batch.inputs[:, ::2].flatten().tolist(), batch.targets[:, 1::2].flatten().tolist(), strict=True
        ):
            assert seen.setdefault(key, value) == value
    assert set(seen) == set(range(20))
    assert Memorization(facts=20, values=4, table=1).sample(30, 32, generator).targets.max() < task.vocab_size
    one, other = (Memorization(table=t).sample(4, 32, torch.Generator().manual_seed(0)).targets for t in (0, 1))
    assert not torch.equal(one, other)


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match=r"length=16 with noise=0\.2 has 6 pairs, expected more than the 8 keys"):
        NoisyRecall(length=16)
    with pytest.raises(InputError, match="noise=1, expected a number from 0 to below 1"):
        NoisyRecall(noise=1)
    with pytest.raises(InputError, match="task 'memorization': length=31 is odd"):
        Memorization(length=31)
