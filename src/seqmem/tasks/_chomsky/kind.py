"""What one of the tasks is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Draw = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]


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
    that there are."""

    level: str
    symbols: tuple[str, ...]
    answer: Callable[[int], int]
    chance: float
    draw: Draw
    least: int = 1
    stride: int = 1

    def longest(self, length: int) -> int | None:
        """The longest string that fits into ``length`` steps with its answer, or None."""
        fitting = (size for size in range(length, self.least - 1, -1) if (size - self.least) % self.stride == 0)
        return next((size for size in fitting if size + self.answer(size) <= length), None)
