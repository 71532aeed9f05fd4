"""The digits in another order."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.digits import Digits
from seqmem.tasks.permuted_digits import PermutedDigits


def test_the_order_is_fixed_by_its_seed() -> None:
    a, b = PermutedDigits(), PermutedDigits(permutation=1)
    assert sorted(a.order.tolist()) == sorted(b.order.tolist()) == list(range(64))
    assert a.order.tolist() != b.order.tolist()
    for task in (a, b):
        ours = task.sample(50, 64, torch.Generator().manual_seed(0), split="test")
        plain = Digits().sample(50, 64, torch.Generator().manual_seed(0), split="test")
        assert ours.targets.equal(plain.targets)
        assert all(ours.inputs[:, t].equal(plain.inputs[:, pixel]) for t, pixel in enumerate(task.order.tolist()))


def test_the_order_cannot_be_changed_from_outside() -> None:
    PermutedDigits().order.zero_()
    assert PermutedDigits().order.sum() == 63 * 32


def test_bad_requests_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="task 'permuted_digits': permutation=-1, expected at least 0"):
        PermutedDigits(permutation=-1)
    with pytest.raises(InputError, match="task 'permuted_digits': length=63, expected 64"):
        PermutedDigits().sample(1, 63, generator)
