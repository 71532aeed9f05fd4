"""Delayed copying: say the few symbols that stood at the beginning, after nothing for a long time.

Source: Unitary Evolution Recurrent Neural Networks (2015), arXiv 1511.06464, its copying memory problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.tasks._few_symbols import FewSymbols
from seqmem.tasks.base import Changes


@dataclass(frozen=True)
class DelayedCopying(FewSymbols):
    """``symbols`` random symbols, a delay of blanks, then a question for each.

    How much is to be kept is always the same; a longer sequence keeps it for longer, ``length`` - 2 ``symbols`` blanks.

    Options:
        length: time steps of a training example, the asking ones included; at least 2 per symbol.
        symbols: how many symbols are to be kept.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    name: ClassVar[str] = "delayed_copying"
    changes: ClassVar[Changes] = {"symbols": (15, 20), "vocabulary": (16, 32), "length": (80, 160)}

    length: int = 40
    symbols: int = 10
    vocabulary: int = 8

    def _places(self, rows: int, body: int, generator: torch.Generator) -> Tensor:
        return torch.arange(self.symbols).expand(rows, -1)
