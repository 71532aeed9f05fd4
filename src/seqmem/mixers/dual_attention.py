"""Dual attention: sensory heads read values, relational heads read relations and symbols:

sensory:     o_t = sum_j a_tj v_j
relational:  o_t = sum_j a_tj (W_r r_tj + W_s s_j),   r_tj[l] = <W_q^l x_t, W_k^l x_j> / sqrt(d).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._entries import Entries, Seen, kept, meet, no_entries, places
from seqmem.mixers._packing import check_state, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._rotary import rotary_tables, rotate
from seqmem.mixers._scored import dot_products
from seqmem.mixers._softmax import softmax_over
from seqmem.mixers.base import Mixer, split_heads

SYMBOLS_BY = ("features", "place", "distance")


class DualAttention(Mixer):
    """Heads of two kinds side by side (Disentangling and Integrating Relational and Sensory Information in Transformer
    Architectures, 2024, arXiv 2405.16727).

    A relational head reads, of what it attends to, not the features but how these are related to its own (``relations``
    inner products, default ``relational_heads``; ``symmetric``: with one map for both sides) and a symbol that says
    which it is, one of ``symbols`` learned ones. ``symbols_by``: "features": retrieved by attention, from what stands
    at the position; "place": s_j, of the place in the document; "distance": s_{t-j}. Places and distances beyond the
    last symbol share it.
    ``sensory_heads`` + ``relational_heads`` divide ``width``; with ``sensory_heads=0`` the layer is relational
    cross-attention, the ablation. Queries and keys are turned by their positions.

    The relations are summed before they are mapped, so that nothing of size time^2 * head is held; the weights, (batch,
    heads, time, read + time), are. The state is linear in the tokens read.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    memory: ClassVar[str] = "linear"

    def __init__(
        self,
        width: int,
        *,
        sensory_heads: int = 2,
        relational_heads: int = 2,
        relations: int | None = None,
        symbols: int = 32,
        symbols_by: str = "features",
        symmetric: bool = False,
        rope_base: float = 10_000.0,
    ) -> None:
        super().__init__(width)
        self.sensory, self.relational = sensory_heads, relational_heads
        self.heads = sensory_heads + relational_heads
        if sensory_heads < 0 or relational_heads < 1 or symbols < 1:
            raise InputError(
                f"DualAttention: {sensory_heads} sensory heads, {relational_heads} relational ones, {symbols} symbols; "
                "expected at least 0, 1 and 1"
            )
        if symbols_by not in SYMBOLS_BY:
            raise InputError(f"DualAttention: symbols_by is {symbols_by!r}, expected one of {', '.join(SYMBOLS_BY)}")
        self.symbols_by = symbols_by
        self.head = split_heads(width, self.heads, "DualAttention")
        if self.head % 2:
            raise InputError(f"DualAttention: heads of size {self.head}, expected an even size for rotary positions")
        self.relations = relational_heads if relations is None else relations
        self.rope_base = rope_base
        self.qk = nn.Linear(width, 2 * width, bias=False)
        self.value = nn.Linear(width, sensory_heads * self.head, bias=False)
        self.relation_query = nn.Linear(width, self.relations * self.head, bias=False)
        self.relation_key = (
            self.relation_query if symmetric else nn.Linear(width, self.relations * self.head, bias=False)
        )
        if symbols_by == "features":
            self.symbol_query = nn.Linear(width, width, bias=False)
            self.templates = nn.Parameter(torch.randn(symbols, width))
        self.library = nn.Parameter(torch.randn(symbols, width))
        size = relational_heads * self.head
        self.from_relations = nn.Parameter(
            torch.randn(relational_heads, self.relations, self.head) * self.relations**-0.5
        )
        self.from_symbols = nn.Linear(width, size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> Entries:
        """Nothing was read. An entry's value holds the sensory values, the relation keys and the symbol."""
        return no_entries(batch_size, 0, 1, self.width, self._value_size(), self.out.weight)

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
        check_state(state, x, "DualAttention")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        packing = pack(mask, reset)
        x = to_front(packing, x)
        state = self.initial_state(len(x)) if state is None else state
        place, after = places(packing, state.position, x)
        query, key = self.qk(x).unflatten(-1, (2, self.heads, self.head)).unbind(2)
        cos, sin = rotary_tables(place, self.head, self.rope_base, x)
        query, key = (rotate(part, (cos[:, :, None], sin[:, :, None])) for part in (query, key))
        stored = torch.cat([self.value(x), self.relation_key(x), *self._symbols(x, place)], -1)
        seen = meet(packing, state, key.flatten(2)[:, :, None], stored[:, :, None], place, after)
        weights = self._weights(query, seen)
        y = self.out(self._read(x, weights, seen))
        return to_place(packing, y), kept(packing, seen.entries, None, None)

    def _symbols(self, x: Tensor, place: Tensor) -> list[Tensor]:
        """The symbol of every position, (batch, time, width); none where it depends on who looks."""
        if self.symbols_by == "distance":
            return []
        if self.symbols_by == "place":
            return [self.library[place.clamp(0, len(self.library) - 1)]]
        score = self.symbol_query(x) @ self.templates.T * self.width**-0.5
        return [score.softmax(-1).to(self.library.dtype) @ self.library]

    def _value_size(self) -> int:
        return (self.sensory + self.relations) * self.head + self._symbol_size()

    def _symbol_size(self) -> int:
        """Numbers of a symbol that are stored with its entry."""
        return 0 if self.symbols_by == "distance" else self.width

    def _weights(self, query: Tensor, seen: Seen) -> Tensor:
        """a_tj, (batch, heads, time, entries), sensory heads first."""
        key = seen.entries.key[:, :, 0].unflatten(-1, (self.heads, self.head))
        return softmax_over(dot_products(query, key), seen.allowed)

    def _read(self, x: Tensor, weights: Tensor, seen: Seen) -> Tensor:
        """The heads side by side, (batch, time, width)."""
        stored = seen.entries.value[:, :, 0].to(weights.dtype)
        sizes = [self.sensory * self.head, self.relations * self.head, self._symbol_size()]
        value, relation_key, symbol = stored.split(sizes, -1)
        sensory, relational = weights.split([self.sensory, self.relational], 1)
        value = value.unflatten(-1, (self.sensory, self.head)) if self.sensory else value[:, :, None]
        relation_query = self.relation_query(x).unflatten(-1, (self.relations, self.head)).to(stored.dtype)
        relation_key = relation_key.unflatten(-1, (self.relations, self.head))
        # sum_j a_tj <q_t, k_j> = <q_t, sum_j a_tj k_j>: the relations need no matrix of their own
        met = torch.einsum("bhtj,bjld->bthld", relational, relation_key)
        relation = torch.einsum("btld,bthld->bthl", relation_query, met) * self.head**-0.5
        if self.symbols_by == "distance":  # sum_j a_tj s_{t-j} = sum_n (sum of a_tj at distance n) s_n
            distance = (seen.query_place[:, :, None] - seen.entries.place[:, None]).clamp(0, len(self.library) - 1)
            shares = relational.new_zeros(*relational.shape[:3], len(self.library))
            relational = shares.scatter_add(3, distance[:, None].expand_as(relational), relational)
            symbol = self.library.expand(len(x), -1, -1)
        symbols = self.from_symbols(symbol).unflatten(-1, (self.relational, self.head)).to(stored.dtype)
        read = torch.einsum("bthl,hld->bthd", relation, self.from_relations) + torch.einsum(
            "bhtj,bjhd->bthd", relational, symbols
        )
        parts = [torch.einsum("bhtj,bjhd->bthd", sensory, value)] if self.sensory else []
        return torch.cat([*parts, read], 2).flatten(2)
