"""What one of the tasks is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Draw = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]
Running = Callable[[Tensor], Tensor]


def one(size: int) -> int:
    """One answer symbol."""
    return 1


def as_long(size: int) -> int:
    """An answer as long as the string."""
    return size


class Kind(NamedTuple):
    """level: the machine's. symbols: of string and answer, by token. answer: its most symbols for a string of ``size``.
    chance: the accuracy of a blind guess. draw: (rows, size, generator) -> strings (rows, size), answers (rows,
    answer(size)), both int64, IGNORE behind the end of an answer. least: the shortest string; stride: between lengths
    that there are. running: strings (rows, size) -> the answer of what was read so far (rows, size), IGNORE where that
    is no string of the task; None where an answer is more than one symbol or says nothing of the way."""

    level: str
    symbols: tuple[str, ...]
    answer: Callable[[int], int]
    chance: float
    draw: Draw
    least: int = 1
    stride: int = 1
    running: Running | None = None

    def longest(self, length: int) -> int | None:
        """The longest string that fits into ``length`` steps with its answer, or None."""
        fitting = (size for size in range(length, self.least - 1, -1) if (size - self.least) % self.stride == 0)
        return next((size for size in fitting if size + self.answer(size) <= length), None)
