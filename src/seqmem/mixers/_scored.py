"""Attention layers that are given by their scores alone: subclasses say how well query t fits entry j."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqmem.mixers._entries import Entries, Seen, kept, meet, no_entries, places
from seqmem.mixers._packing import check_state, matrix_to_place, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._softmax import softmax_over
from seqmem.mixers.base import Mixer, split_heads


class ScoredAttention(Mixer):
    """y_t = W_o [sum_j softmax_j(score_tj) v_j]_heads over the positions that are seen.

    A subclass defines :meth:`score`, and may narrow what is seen (:meth:`seen`) and what is kept (:meth:`wanted`,
    ``room``), or change what an entry holds (:meth:`empty`, ``_projected``, ``_merged``). The whole score matrix of a
    call is held: (batch, heads, time, read + time).

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    memory: ClassVar[str] = "linear"
    room: int | None = None  # entries that the state holds; None: as many as were read

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width)
        self.heads = heads
        self.head = split_heads(width, heads, type(self).__name__)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """(batch, heads, time, entries) from queries (batch, time, heads, head) and what they meet."""
        raise NotImplementedError

    def seen(self, seen: Seen) -> Tensor:
        """(batch, time, entries) bool: what of the allowed is looked at."""
        return seen.allowed

    def wanted(self, entries: Entries) -> Tensor | None:
        """(batch, entries) bool: what must be kept; None: everything."""
        return None

    def empty(self, batch_size: int, count: int) -> Entries:
        """Room for ``count`` entries."""
        return no_entries(batch_size, count, self.heads, self.head, self.head, self.out.weight)

    def initial_state(self, batch_size: int) -> Entries:
        """Nothing was read."""
        return self.empty(batch_size, self.room or 0)

    def forward(
        self,
        x: Tensor,
        state: Entries | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, Entries]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, type(self).__name__)
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        state = self.initial_state(len(x)) if state is None else state
        packing = pack(mask, reset)
        x = to_front(packing, x)
        query, key, value = self._projected(x)
        seen = meet(packing, state, key, value, *places(packing, state.position, x))
        weights = softmax_over(self.score(query, seen), self.seen(seen))
        y = self._merged(weights, seen.entries.value)
        return to_place(packing, y), kept(packing, seen.entries, self.wanted(seen.entries), self.room)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """The softmax weights (batch, heads, time, time) from an empty state; columns of padding are zero."""
        self.check_input(x, mask, reset, "auto")
        packing = pack(mask, reset)
        packed = to_front(packing, x)
        empty = self.empty(len(x), 0)
        query, key, value = self._projected(packed)
        seen = meet(packing, empty, key, value, *places(packing, empty.position, packed))
        return matrix_to_place(packing, softmax_over(self.score(query, seen), self.seen(seen)))

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        """y (batch, time, width): what is read through the weights (batch, heads, time, time), values from x."""
        return self._merged(attention, self._projected(x)[2])

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (batch, time, heads, head)."""
        return self.qkv(x).unflatten(-1, (3, self.heads, self.head)).unbind(2)

    def _merged(self, weights: Tensor, value: Tensor) -> Tensor:
        return self.out(torch.einsum("bhtj,bjhv->bthv", weights, value.to(weights.dtype)).flatten(2))


def dot_products(query: Tensor, key: Tensor) -> Tensor:
    """q . k / sqrt(head): (batch, time, heads, head) and (batch, entries, heads, head) to (batch, heads, time,
    entries).
    """
    return torch.einsum("bthd,bjhd->bhtj", query, key.to(query.dtype)) * query.shape[-1] ** -0.5
