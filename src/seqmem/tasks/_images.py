"""Images of classes: the digits inside the package, or a safetensors file of the user's own. Read once per process."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks._text import File

FEWEST = 10  # images, so that no part of them is empty


class Images(NamedTuple):
    """``images``: (image, height, width) uint8. ``labels``: (image,) int64, from 0. Both in the order from which the
    first 70 % train, 15 % validate and 15 % test. ``levels``: grey values 0 to this, less one."""

    images: Tensor
    labels: Tensor
    levels: int
    classes: int
    sha256: str | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]

    @property
    def pixels(self) -> int:
        return self.images[0].numel()

    def part(self, split: str) -> tuple[Tensor, Tensor]:
        """Images (image, pixels) and labels (image,) of a split, without a copy."""
        count = len(self.labels)
        train, validation = int(0.7 * count), int(0.85 * count)
        first, last = {"train": (0, train), "validation": (train, validation), "test": (validation, count)}[split]
        return self.images[first:last].flatten(1), self.labels[first:last]


@lru_cache(4)
def load(file: File | None) -> Images:
    """The images of a file that ``_text.files_at`` found, or those of the package. Raises InputError."""
    if file is not None:
        return _users(Path(file.path))
    with files("seqmem.tasks").joinpath("data/digits.npz").open("rb") as own, np.load(own, allow_pickle=False) as data:
        images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
        return _images(images.unflatten(1, (8, 8)), labels, torch.from_numpy(data["order"].astype(np.int64)), None)


def _images(images: Tensor, labels: Tensor, order: Tensor, sha256: str | None) -> Images:
    levels, classes = int(images.amax()) + 1, int(labels.amax()) + 1
    return Images(images[order].to(torch.uint8), labels[order].long(), levels, classes, sha256)


def _users(path: Path) -> Images:
    from safetensors import SafetensorError
    from safetensors.torch import load as read

    expected = (
        "expected a safetensors file with images (image, height, width), whole numbers 0 to 255, and labels (image,), "
        "whole numbers from 0"
    )
    try:
        content = path.read_bytes()
        stored = read(content)
        images, labels = stored["images"], stored["labels"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        why = str(error)[:100] or type(error).__name__
        raise InputError(f"'{path}' holds no images ({why}); {expected}") from error
    whole = not any(t.is_floating_point() or t.is_complex() for t in (images, labels))
    if not whole or images.ndim != 3 or labels.shape != images.shape[:1] or 0 in images.shape[1:]:
        found = f"images {tuple(images.shape)} {images.dtype}, labels {tuple(labels.shape)} {labels.dtype}"
        raise InputError(f"'{path}' holds {found}; {expected}")
    if len(images) < FEWEST:
        raise InputError(f"'{path}' holds {len(images)} images, expected {FEWEST} or more")
    if images.amin() < 0 or images.amax() > 255 or labels.amin() < 0 or labels.amax() >= len(labels):
        ranges = f"{int(images.amin())} to {int(images.amax())}, labels {int(labels.amin())} to {int(labels.amax())}"
        raise InputError(f"'{path}' holds grey values {ranges}; {expected}, no more classes than images")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return _images(images, labels, order, hashlib.sha256(content).hexdigest())
