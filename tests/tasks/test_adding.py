"""Adding and induction against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.adding import Adding
from seqmem.tasks.base import IGNORE
from seqmem.tasks.induction import MARKER, Induction


@pytest.mark.parametrize("length", [2, 3, 64, 65])
def test_the_two_marked_numbers_are_added(generator: torch.Generator, length: int) -> None:
    task = Adding(numbers=7)
    batch = task.sample(100, length, generator)
    assert (batch.targets[:, :-1] == IGNORE).all()
    for inputs, answer in zip(batch.inputs.tolist(), batch.targets[:, -1].tolist(), strict=True):
        first, second = (t for t in range(length) if inputs[t] >= 7)
        assert first < length // 2 <= second
        assert answer == inputs[first] + inputs[second] - 14


def test_the_same_in_real_numbers(generator: torch.Generator) -> None:
    inputs, sums = Adding().vectors(4000, 20, generator)
    assert inputs.shape == (4000, 20, 2)
    assert inputs.dtype == sums.dtype == torch.float32
    torch.testing.assert_close(inputs.prod(2).sum(1), sums)
    assert inputs[..., 1].unique().tolist() == [0, 1]
    assert (inputs[:, :10, 1].sum(1) == 1).all()
    assert (inputs[:, 10:, 1].sum(1) == 1).all()
    assert (sums - 1).square().mean() == pytest.approx(Adding.blind_error, abs=0.01)


def test_chance_is_that_of_the_likeliest_sum(generator: torch.Generator) -> None:
    task = Adding(numbers=6)
    share = torch.bincount(task.sample(20_000, 4, generator).targets[:, -1]) / 20_000
    assert share.argmax() == 5
    assert share.max() == pytest.approx(task.chance, abs=0.01)


@pytest.mark.parametrize("length", [3, 64])
def test_what_followed_the_marker(generator: torch.Generator, length: int) -> None:
    batch = Induction(vocabulary=5).sample(400, length, generator)
    places = set()
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert inputs.count(MARKER) == 2
        assert inputs[-1] == MARKER
        place = inputs.index(MARKER)
        assert targets == [IGNORE] * (length - 1) + [inputs[place + 1]]
        places.add(place)
    assert places == set(range(length - 2))


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="task 'adding': length=1, expected at least 2"):
        Adding(length=1)
    with pytest.raises(InputError, match="task 'induction': length=2, expected at least 3"):
        Induction(length=2)
