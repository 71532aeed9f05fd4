"""Which tokens a step reads. The batch of a step follows from the seed and the step's number alone, so a training that
was stopped goes on from its step, on as many processes as there are then."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.training.seeds import generator
from seqmem.training.tokens.shards import Array
from seqmem.training.tokens.stream import Reordered, Stream, View


class Batch(NamedTuple):
    """Some rows of a step. inputs, targets: (rows, window) int64; a target is the token that follows, -100 where that
    begins a document. reset: (rows, window) bool, True where an input begins a document."""

    inputs: Tensor
    targets: Tensor
    reset: Tensor


class Order:
    """Shuffled windows, each by itself; or with ``carry`` every row's stretch of the shuffled documents, window after
    window.

    An epoch reads every window once; at its end, less than a window of each stretch is left out. Raises InputError
    where there is too little to read.
    """

    def __init__(self, stream: Stream, window: int, batch_size: int, *, seed: int = 0, carry: bool = False) -> None:
        self.stream, self.window, self.batch_size, self.seed, self.carry = stream, window, batch_size, seed, carry
        stretch = stream.tokens // batch_size if carry else stream.tokens
        self.windows = (stretch - 1) // window  # of a stretch, or of all
        if self.windows < 1:
            each = f" for each of {batch_size} rows (batch_size)" if carry else ""
            raise InputError(
                f"data '{stream.name}' has {stream.tokens:,} tokens, expected window + 1 = {window + 1}{each} or more; "
                "give more text or a smaller window"
            )
        self._permuted = lru_cache(maxsize=2)(self._permute)
        self._documents = lru_cache(maxsize=1)(self._reorder)

    def epoch(self, step: int) -> int:
        """How often all was read before the step's first row."""
        return step // self.windows if self.carry else step * self.batch_size // self.windows

    def starts_over(self, step: int) -> bool:
        """Whether a step's rows have no memory of the step before."""
        return not self.carry or step % self.windows == 0

    def asked(self, step: int) -> int:
        """How many targets all rows of a step have."""
        view, start = self._places(step)
        inside = view.documents_within(start + 1, start + self.window + 1)
        return self.batch_size * self.window - int(inside.sum())

    def batch(self, step: int, first: int = 0, last: int | None = None) -> Batch:
        """Rows ``first`` to ``last`` - 1 of a step."""
        view, places = self._places(step)
        tokens, begins = [], []
        for start in places[first:last].tolist():
            stop = start + self.window + 1
            tokens.append(view.read(start, stop))
            begins.append(view.begins(start, stop))
        ids, new = torch.from_numpy(np.stack(tokens)), torch.from_numpy(np.stack(begins))  # (rows, window + 1)
        return Batch(ids[:, :-1].contiguous(), ids[:, 1:].masked_fill(new[:, 1:], IGNORE), new[:, :-1].contiguous())

    def _places(self, step: int) -> tuple[View, Array]:
        """What is read, and where in it each row begins."""
        if self.carry:
            epoch, window = divmod(step, self.windows)
            stretch = self.stream.tokens // self.batch_size
            return self._documents(epoch), np.arange(self.batch_size) * stretch + window * self.window
        number = step * self.batch_size + np.arange(self.batch_size)
        epochs = number // self.windows
        place = np.empty(self.batch_size, np.int64)
        for one in np.unique(epochs).tolist():
            place[epochs == one] = self._permuted(one, self.windows)[number[epochs == one] % self.windows]
        return self.stream, place * self.window

    def _reorder(self, epoch: int) -> View:
        count = len(self.stream.starts)
        return self.stream if count == 1 else Reordered(self.stream, self._permuted(epoch, count))

    def _permute(self, epoch: int, count: int) -> Array:
        return torch.randperm(count, generator=generator(self.seed, "order", epoch)).numpy()
