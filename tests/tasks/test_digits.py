"""The digits: the images that scikit-learn has, three disjoint parts, one question."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.resources import files
from typing import get_args

import numpy as np
import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE, Split
from seqmem.tasks.digits import Digits


def test_the_images_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    data = files("seqmem.tasks").joinpath("data")
    with data.joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as ours:
        np.testing.assert_array_equal(ours["images"], theirs.data)
        np.testing.assert_array_equal(ours["labels"], theirs.target)
        np.testing.assert_array_equal(np.sort(ours["order"]), np.arange(1797))
    digest = hashlib.sha256(data.joinpath("digits.npz").read_bytes()).hexdigest()
    assert digest in data.joinpath("README.md").read_text(encoding="utf-8")


def test_the_parts_are_disjoint_and_together_everything(generator: torch.Generator) -> None:
    """As many rows as the part has images give every image once; no two of the 1,797 images are the same."""
    data = files("seqmem.tasks").joinpath("data/digits.npz")
    with data.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        everything = {bytes(image): int(label) for image, label in zip(stored["images"], stored["labels"], strict=True)}
    assert len(everything) == 1797
    seen: dict[bytes, int] = {}
    for split, size in (("train", 1257), ("validation", 270), ("test", 270)):
        batch = Digits().sample(size, 64, generator, split=split)
        part = {bytes(i): t - 17 for i, t in zip(batch.inputs.tolist(), batch.targets[:, -1].tolist(), strict=True)}
        assert len(part) == size
        assert not part.keys() & seen.keys()
        seen |= part
    assert seen == everything


@pytest.mark.parametrize("split", get_args(Split))
def test_the_class_is_asked_at_the_last_pixel_only(generator: torch.Generator, split: Split) -> None:
    task = Digits()
    batch = task.sample(100, 64, generator, split=split)
    assert (batch.targets[:, :-1] == IGNORE).all()
    assert batch.targets[:, -1].min() >= 17
    assert batch.targets[:, -1].max() < task.vocab_size == 27
    assert batch.inputs.min() == 0
    assert batch.inputs.max() == 16


def test_a_large_batch_goes_over_the_images_again(generator: torch.Generator) -> None:
    batch = Digits().sample(600, 64, generator, split="test")
    assert batch.inputs.shape == (600, 64)
    assert set(Counter(map(tuple, batch.inputs.tolist())).values()) == {2, 3}


def test_chance_is_about_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    labels = Digits().sample(1257, 64, generator).targets[:, -1] - 17
    assert torch.bincount(labels).max().item() / 1257 == pytest.approx(Digits().chance, abs=0.02)


def test_another_length_says_so(generator: torch.Generator) -> None:
    assert Digits().test_lengths == (64,)
    with pytest.raises(InputError, match="length=128, expected 64: the images have 8x8 pixels"):
        Digits().sample(2, 128, generator)


def test_example_is_a_picture_and_its_class(generator: torch.Generator) -> None:
    *picture, answer = Digits().example(generator).splitlines()
    assert [len(line) for line in picture] == [16] * 8
    assert answer.removeprefix("-> ") in set("0123456789")
