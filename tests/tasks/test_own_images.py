"""The digits' task on images of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seqmem.errors import InputError
from seqmem.tasks import get_task
from seqmem.tasks.base import IGNORE
from seqmem.tasks.digits import Digits
from seqmem.tasks.permuted_digits import PermutedDigits


def written(folder: Path, images: torch.Tensor, labels: torch.Tensor) -> str:
    path = folder / "images.safetensors"
    save_file({"images": images, "labels": labels}, path)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """40 images of 3x5 pixels, no two the same: the first pixel counts them."""
    images = torch.randint(0, 100, (40, 3, 5), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(40)
    images[0, 2, 4] = 199
    return written(tmp_path, images, torch.arange(40) % 4)


def test_every_image_is_in_one_part_with_its_label(path: str, generator: torch.Generator) -> None:
    task = Digits(path=path)
    assert (task.train_length, task.test_lengths, task.vocab_size, task.chance) == (15, (15,), 204, 0.25)
    seen: list[int] = []
    for split, count in (("train", 28), ("validation", 6), ("test", 6)):
        batch = task.sample(count, 15, generator, split=split)
        numbers = batch.inputs[:, 0]
        assert (batch.targets[:, :-1] == IGNORE).all()
        assert batch.targets[:, -1].equal(200 + numbers % 4)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(40))
    assert sorted(seen) != seen


def test_permuted_over_their_pixels(path: str) -> None:
    task = PermutedDigits(path=path, permutation=3)
    plain = Digits(path=path).sample(5, 15, torch.Generator().manual_seed(0))
    ours = task.sample(5, 15, torch.Generator().manual_seed(0))
    assert sorted(task.order.tolist()) == list(range(15))
    assert ours.inputs.equal(plain.inputs[:, task.order])


def test_other_content_is_other_data(path: str, tmp_path: Path) -> None:
    """An experiment's name has the file's digest in it."""
    before = get_task("digits", path=path).data_sha256
    written(tmp_path, torch.ones(12, 2, 2, dtype=torch.uint8), torch.zeros(12, dtype=torch.int64))
    again = get_task("digits", path=path)
    assert before is not None
    assert again.data_sha256 not in (None, before)
    assert again.example(torch.Generator().manual_seed(0)).splitlines()[-1] == "-> 0"
    assert Digits().data_sha256 is None


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(12, 4), torch.zeros(12, dtype=torch.int64), r"holds images \(12, 4\) torch.float32"),
        (torch.zeros(12, 2, 2, dtype=torch.uint8), torch.zeros(11, dtype=torch.int64), r"labels \(11,\)"),
        (torch.zeros(9, 2, 2, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64), "holds 9 images, expected 10"),
        (torch.full((12, 2, 2), 256), torch.zeros(12, dtype=torch.int64), "holds grey values 256 to 256"),
        (torch.zeros(12, 2, 2, dtype=torch.uint8), torch.full((12,), -1), "labels -1 to -1"),
    ],
)
def test_what_is_no_image(tmp_path: Path, images: torch.Tensor, labels: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Digits(path=written(tmp_path, images, labels))


def test_what_is_no_file_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Call me Ishmael.")
    with pytest.raises(InputError, match=r"holds no images .*expected a safetensors file with images"):
        Digits(path=str(tmp_path / "a.txt"))
    (tmp_path / "b.txt").write_text("Some years ago")
    with pytest.raises(InputError, match="is a folder, expected a safetensors file"):
        Digits(path=str(tmp_path))
    with pytest.raises(InputError, match="task 'permuted_digits': path=3, expected the name of a safetensors file"):
        PermutedDigits(path=3)  # type: ignore[arg-type]
