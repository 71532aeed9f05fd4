"""The next byte of real text: the novel inside the package (see ``data/README.md``), or any text the user names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check, _text
from seqmem.tasks.base import Batch, Metric, Split, Task


@dataclass(frozen=True)
class Bytes(Task):
    """At every position, the byte that comes next.

    The first 90 % of the text are for training, the next 5 % for validation, the last 5 % for the test. Every example
    is a window at a random offset of its part, read with no memory of what came before. The text is read when the task
    is made, once per process.

    Options:
        path: a file, or a folder: all files below it in the order of their paths, those with a leading dot left out,
            with a line break after each that lacks one. None: *Moby-Dick*, 1.2 MB of English prose.
        length: time steps of a training example.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    metric: ClassVar[Metric] = "bits_per_byte"
    solved_at: ClassVar[float | None] = None

    path: str | None = None
    length: int = 256
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        path = _check.path("bytes", "path", self.path, "a text file or of a folder of them")
        length = _check.integer("bytes", "length", self.length, at_least=1)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "_files", () if self.path is None else _text.files_at(self.path))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("bytes", self.test_lengths, length))
        self._check_size(max(self.test_lengths))

    @property
    def text(self) -> _text.Text:
        """The whole text and what is known of it."""
        return _text.load(self.__dict__["_files"])

    @property
    def vocab_size(self) -> int:
        return 256

    @property
    def chance(self) -> float:
        """Entropy of the training part's byte frequencies, in bits: the best guess that has not read the input."""
        return self.text.unigram_bits

    @property
    def data_sha256(self) -> str:
        """SHA-256 of the whole text."""
        return self.text.sha256

    def _check_size(self, length: int) -> None:
        smallest = min(len(self.text.part(split)) for split in get_args(Split))
        if smallest <= length:
            raise InputError(
                f"task 'bytes': {self.path or 'the text of the package'} has {len(self.text.data)} bytes, too few for "
                f"length={length}: its test part, the last 5 %, has {smallest}, expected {length + 1} or more; "
                "use a longer text or shorter lengths"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` windows of ``length`` steps at random offsets; all positions are asked."""
        _check.request("bytes", batch_size, length, generator, split)
        self._check_size(length)
        windows = self.text.part(split).unfold(0, length + 1, 1)  # (offset, time + 1), a view
        text = windows[torch.randint(len(windows), (batch_size,), generator=generator)].long()
        return Batch(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    def example(self, generator: torch.Generator) -> str:
        """A passage, and how it goes on."""
        batch = self.sample(1, self.length, generator)
        text = bytes([*batch.inputs[0].tolist(), int(batch.targets[0, -1])])[-240:]
        cut = len(text) * 3 // 4
        before, after = (part.decode("utf-8", errors="replace") for part in (text[:cut], text[cut:]))
        return f"{before}\n-> {after}"
