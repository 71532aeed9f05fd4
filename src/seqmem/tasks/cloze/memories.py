"""The memories of a question as tensors: windows around every mention of a candidate, single words, or sentences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError


class Memories(NamedTuple):
    """windows: (batch, memory, word) int64, 0 is the blank; a memory of blanks is none. query: (batch, word).
    centre: (batch, memory), which candidate a window is around, -1 behind the last."""

    windows: Tensor
    query: Tensor
    centre: Tensor


def memories_of(context: Tensor, query: Tensor, gap: Tensor, candidates: Tensor, window: int = 5) -> Memories:
    """A window of ``window`` words around every place of the context that names a candidate, and around the gap.

    context: (batch, time) int64, a context as one row of words, 0 where there is none. query: (batch, word). gap:
    (batch,), the place of the gap in it. candidates: (batch, candidate). Windows reach over the ends of sentences, and
    are 0 beyond the text.
    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"window is {window}, expected an odd number: a word and as many to its left as to its right")
    named = context[:, :, None] == candidates[:, None]  # (batch, time, candidate)
    here = named.any(2) & (context != 0)
    count = int(here.sum(1).max()) if len(here) else 0
    order = here.long().argsort(dim=1, descending=True, stable=True)[:, : max(1, count)]  # places of memories, in order
    given = here.gather(1, order)
    windows = _around(context, order, window).masked_fill(~given[:, :, None], 0)
    centre = named.long().argmax(2).gather(1, order).masked_fill(~given, -1)
    return Memories(windows, _around(query, gap[:, None], window)[:, 0], centre)


def _around(words: Tensor, place: Tensor, window: int) -> Tensor:
    """(batch, place, window): the words around places (batch, place)."""
    half = window // 2
    padded = torch.nn.functional.pad(words, (half, half))
    grid = place[:, :, None] + torch.arange(window)  # (batch, place, window)
    return padded[:, None].expand(-1, place.shape[1], -1).gather(2, grid)
