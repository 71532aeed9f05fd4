"""Same and different objects, against what they say."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.same_objects import pool, sample_objects


def test_the_label_says_whether_the_first_two_are_identical(generator: torch.Generator) -> None:
    among = pool(4, 3, generator)
    objects, same = sample_objects(4000, among, generator, count=3)
    assert objects.shape == (4000, 3, 3)
    for row, label in zip(objects.tolist(), same.tolist(), strict=True):
        assert (row[0] == row[1]) == bool(label)
        assert all(one in among.tolist() for one in row)
    assert float(same.double().mean()) == pytest.approx(0.5, abs=0.04)


def test_every_object_is_as_likely_everywhere_whatever_the_label(generator: torch.Generator) -> None:
    """So that no single position tells anything."""
    among = torch.arange(5.0)[:, None]
    objects, same = sample_objects(50_000, among, generator)
    for label in (0, 1):
        for position in range(5):
            counts = torch.bincount(objects[same == label, position, 0].long(), minlength=5)
            assert float(counts.min() / counts.max()) > 0.93
    pairs = objects[same == 0][:, :2, 0].long() @ torch.tensor([5, 1])
    assert (torch.bincount(pairs, minlength=25) > 0).sum() == 20


def test_mistakes_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="at least 2 objects"):
        sample_objects(3, torch.zeros(1, 4), generator)
    with pytest.raises(InputError, match="count 1,"):
        sample_objects(3, torch.zeros(3, 4), generator, count=1)
