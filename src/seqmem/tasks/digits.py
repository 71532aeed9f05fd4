"""Which digit is this? Its image comes pixel by pixel, and the answer is asked after the last.

Source: Optical Recognition of Handwritten Digits (1998), E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC
BY 4.0; the same 1,797 images as scikit-learn's ``load_digits``. They ship inside the package: see ``data/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw, _images, _text
from seqmem.tasks.base import IGNORE, Batch, Split, Task

PIXELS, LEVELS, CLASSES = 64, 17, 10  # of the images inside the package


@dataclass(frozen=True)
class Digits(Task):
    """Grey levels row by row, tokens 0 up; at the last pixel the class is asked, the tokens after those of the levels.

    The package's images have 8x8 pixels of 17 levels: 64 steps; 1,257 train, 270 validate, 270 test. Images have one
    size, so there is one length to test at.

    Options:
        path: a safetensors file of other images: ``images`` (image, height, width) of whole numbers up to 255 and
            ``labels`` (image,) from 0, as ``seqmem assets fetch mnist-10k`` makes one (28x28 pixels: 784 steps). In an
            order of their own, 70 % train, 15 % validate, 15 % test.
    """

    name: ClassVar[str] = "digits"
    solved_at: ClassVar[float | None] = None

    path: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _check.path(self.name, "path", self.path, "a safetensors file"))
        found = (None,) if self.path is None else _text.files_at(self.path)
        if len(found) > 1:
            raise InputError(f"task '{self.name}': path={self.path!r} is a folder, expected a safetensors file")
        object.__setattr__(self, "_file", found[0])
        _images.load(found[0])

    @property
    def images(self) -> _images.Images:
        """All images and what is known of them."""
        return _images.load(self.__dict__["_file"])

    @property
    def vocab_size(self) -> int:
        return self.images.levels + self.images.classes

    @property
    def train_length(self) -> int:
        return self.images.pixels

    @property
    def test_lengths(self) -> tuple[int, ...]:
        return (self.images.pixels,)

    @property
    def chance(self) -> float:
        return 1 / self.images.classes

    @property
    def data_sha256(self) -> str | None:
        """SHA-256 of the file at ``path``."""
        return self.images.sha256

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` images of the split in random order; none comes twice in a batch before every one has come
        once."""
        _check.request(self.name, batch_size, length, generator, split)
        pixels, (height, width) = self.images.pixels, self.images.shape
        if length != pixels:
            size = f"the images have {height}x{width} pixels"
            raise InputError(f"task '{self.name}': length={length}, expected {pixels}: {size}")
        images, labels = self.images.part(split)
        passes = -(-batch_size // len(images))
        order = _draw.shuffled(torch.arange(len(images)).expand(passes, -1), generator).flatten()[:batch_size]
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, -1] = self.images.levels + labels[order]
        return Batch(images[order].long(), targets)

    def example(self, generator: torch.Generator) -> str:
        """The image in lines of characters, darker for more ink, and its class."""
        batch = self.sample(1, self.images.pixels, generator)
        shades = " .:-=+*#@"
        rows = batch.inputs[0].view(self.images.shape) * (len(shades) - 1) // max(1, self.images.levels - 1)
        picture = "\n".join("".join(2 * shades[shade] for shade in row) for row in rows.tolist())
        return f"{picture}\n-> {int(batch.targets[0, -1]) - self.images.levels}"
