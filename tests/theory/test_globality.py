"""Labels that are planted in a known number of patches."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.theory import globality, globality_degree
from seqmem.theory.globality import Known, _histogram

ROWS = 4000


def bits(label: torch.Tensor, images: torch.Tensor, sizes: tuple[int, ...], generator: torch.Generator) -> list[float]:
    found = globality(
        images, label, sizes, patch=(2, 2), subsets=4, steps=100, hidden=32, rate=1e-2, generator=generator
    )
    return [one.bits for one in found]


def test_planted_labels(generator: torch.Generator) -> None:
    """Four patches of coin flips. One patch's corner: one patch is enough. Two corners' parity: not one, but all four.
    The number of ones: the histogram is enough. A coin of its own: nothing is."""
    images = torch.randint(2, (ROWS, 4, 4), generator=generator)
    one = bits(images[:, 0, 0], images, (0, 1), generator)
    assert one[0] < 0.2
    assert one[1] > 0.9
    parity = bits(images[:, 0, 0] ^ images[:, 3, 3], images, (0, 4), generator)
    assert parity[0] < 0.1
    assert parity[1] > 0.7
    assert bits((images.flatten(1).sum(1) > 7).long(), images, (0,), generator)[0] > 0.6
    assert bits(torch.randint(2, (ROWS,), generator=generator), images, (4,), generator)[0] < 0.02


def test_the_histogram_counts_patches(generator: torch.Generator) -> None:
    patches = torch.randint(2, (50, 7, 3), generator=generator)
    found = _histogram(patches, 20)
    assert found.shape == (50, 21)
    assert (found.sum(1) == 7).all()
    codes = (patches * torch.tensor([4, 2, 1])).sum(2)
    counts = torch.nn.functional.one_hot(codes, 8).sum(1)
    order = counts.sum(0).argsort(descending=True)
    totals = found.sum(0)[:8]
    assert totals.tolist() == counts.sum(0)[order].tolist()
    few = _histogram(patches, 2)
    assert torch.equal(few[:, :2], found[:, :2])
    assert torch.equal(few[:, 2], found[:, 2:].sum(1))


def test_the_degree_is_the_smallest_size_that_knows() -> None:
    known = [Known(0, 0.0, 0.5, ()), Known(2, 0.06, 0.4, (0, 1)), Known(1, 0.02, 0.5, (0,)), Known(8, 0.9, 0.0, ())]
    assert globality_degree(known) == 2
    assert globality_degree(known, 0.5) == 8
    assert globality_degree(known[:1]) is None


def test_bad_input_says_so(generator: torch.Generator) -> None:
    images = torch.zeros(8, 4, 4, dtype=torch.int64)
    with pytest.raises(InputError, match="a patch that divides"):
        globality(images, torch.zeros(8, dtype=torch.int64), (1,), patch=(3, 3), generator=generator)
    with pytest.raises(InputError, match="size 5, expected 0 to 4"):
        globality(images, torch.zeros(8, dtype=torch.int64), (5,), patch=(2, 2), generator=generator)
