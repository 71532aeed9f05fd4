"""Selective copying: keep the symbols, let the blanks go by.

Source: Mamba: Linear-Time Sequence Modeling with Selective State Spaces (2023), arXiv 2312.00752, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.tasks import _draw
from seqmem.tasks._few_symbols import FewSymbols
from seqmem.tasks.base import Changes


@dataclass(frozen=True)
class SelectiveCopying(FewSymbols):
    """A few symbols at random places among blanks, then as many steps that ask for them in their order.

    Where a symbol stands says nothing, so a fixed filter over time cannot find it: the layer must choose by content. A
    longer sequence has more blanks, not more symbols.

    Options:
        length: time steps of a training example, the asking ones included; at least 2 per symbol.
        symbols: how many symbols are to be kept.
        vocabulary: number of different symbols.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    name: ClassVar[str] = "selective_copying"
    changes: ClassVar[Changes] = {"symbols": (16, 32), "vocabulary": (32, 64), "length": (128, 256)}

    length: int = 64
    symbols: int = 8
    vocabulary: int = 16

    def _places(self, rows: int, body: int, generator: torch.Generator) -> Tensor:
        return _draw.subsets(rows, self.symbols, body, generator).sort(dim=1).values
