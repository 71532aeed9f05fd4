"""The sum since the last reset, against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.memory_horizon import MemoryHorizon


@pytest.mark.parametrize("options", [{}, {"numbers": 3, "most": 5, "reset_every": 4}, {"most": 1}, {"most": 4}])
def test_the_answer_is_the_sum_since_the_last_reset(options: dict, generator: torch.Generator) -> None:
    task = MemoryHorizon(**options)
    batch = task.sample(40, 50, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        total = 0
        for token, answer in zip(inputs, targets, strict=True):
            total = 0 if token == task.numbers else total + token
            assert answer == min(total, task.most)


def test_resets_come_as_often_as_they_should(generator: torch.Generator) -> None:
    inputs = MemoryHorizon(reset_every=5).sample(500, 100, generator).inputs
    assert float((inputs == 10).double().mean()) == pytest.approx(0.2, abs=0.01)
    counts = torch.bincount(inputs[inputs < 10])
    assert len(counts) == 10
    assert float(counts.min() / counts.max()) > 0.9


@pytest.mark.parametrize(
    "task", [MemoryHorizon(), MemoryHorizon(numbers=2, most=7, reset_every=9, length=20)], ids=repr
)
def test_chance_is_what_the_best_blind_guess_scores(task: MemoryHorizon, generator: torch.Generator) -> None:
    targets = task.sample(20_000, task.length, generator).targets
    best = [torch.bincount(targets[:, t]).max().item() / len(targets) for t in range(task.length)]
    assert sum(best) / len(best) == pytest.approx(task.chance, abs=0.01)


def test_the_example_shows_both(generator: torch.Generator) -> None:
    read, said = (line.split()[1:] for line in MemoryHorizon(length=30).example(generator).splitlines())
    total = 0
    for token, answer in zip(read, said, strict=True):
        total = 0 if token == "|" else total + int(token)
        assert int(answer) == min(total, 50)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"numbers": 1}, "numbers=1, expected at least 2"),
        ({"most": 0}, "most=0, expected at least 1"),
        ({"reset_every": 1}, "reset_every=1, expected a number above 1"),
        ({"reset_every": True}, "reset_every=True"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        MemoryHorizon(**options)
