"""Attention to the last ``window`` positions and to the first ``sinks`` of the document, which are never let go."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers._entries import Entries, Seen
from seqmem.mixers._rotary import rotary_tables, rotate
from seqmem.mixers._scored import ScoredAttention, dot_products
from seqmem.mixers._softmax import check_heads


class SinkAttention(ScoredAttention):
    """Sliding-window attention with attention sinks (Efficient Streaming Language Models with Attention Sinks, 2023,
    arXiv 2309.17453).

    A softmax must put its weight somewhere, and trained networks put it on the first tokens: those are kept. Positions
    are places in the cache: q and k are turned by their distance, which for a sink is at most ``sinks`` + ``window`` -
    1. The state is constant: ``sinks`` + ``window`` - 1 entries.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    memory: ClassVar[str] = "constant"

    def __init__(
        self, width: int, *, window: int = 64, sinks: int = 4, heads: int = 4, rope_base: float = 10_000.0
    ) -> None:
        super().__init__(width, heads)
        check_heads(width, heads, None, None, rope_base, "SinkAttention")
        if window < 1 or sinks < 0:
            raise InputError(f"SinkAttention: window {window} and sinks {sinks}, expected at least 1 and at least 0")
        self.window, self.sinks, self.rope_base = window, sinks, rope_base
        self.room = sinks + window - 1

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """The dot products of queries and keys that are turned by their places; for a sink the query stands at the end
        of the cache.
        """
        key = self._turned(seen.entries.key, seen.entries.place)
        near = dot_products(self._turned(query, seen.query_place), key)
        last = seen.query_place.clamp_max(self.sinks + self.window - 1)
        return torch.where(
            (seen.entries.place < self.sinks)[:, None, None], dot_products(self._turned(query, last), key), near
        )

    def seen(self, seen: Seen) -> Tensor:
        """The window and the sinks."""
        distance = seen.query_place[:, :, None] - seen.entries.place[:, None]
        return seen.allowed & ((distance < self.window) | (seen.entries.place < self.sinks)[:, None])

    def wanted(self, entries: Entries) -> Tensor:
        """The sinks, and what the next position's window reaches."""
        return (entries.place < self.sinks) | (entries.place > entries.position[:, None] - self.window)

    def _turned(self, x: Tensor, place: Tensor) -> Tensor:
        cos, sin = rotary_tables(place, self.head, self.rope_base, x)
        return rotate(x, (cos[:, :, None], sin[:, :, None]))
