"""Landmark attention: softmax in two steps, blocks by their landmarks, tokens within a block; the best blocks alone
are read:

a_tj = w_tj                         for j in the block of t,
a_tj = w_t,l(b) softmax_b(s_tj)     for j in an earlier block b with landmark l(b),

w_t: one softmax over t's own block and the landmarks of the blocks that are retrieved.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._entries import NOWHERE, Entries, Seen, kept, meet, no_entries, places
from seqmem.mixers._packing import check_state, matrix_to_place, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._rotary import rotary_tables, rotate
from seqmem.mixers._scored import dot_products
from seqmem.mixers._softmax import HeadNorms, check_heads, softmax_over
from seqmem.mixers.base import Mixer


class Blocks(NamedTuple):
    """The entries of a row block by block. key, value: (batch, block, slot, heads, head); place: (batch, block, slot)
    int64; flat: (batch, entries) int64, where each entry went, block * slots + slot; own: (batch, time) int64, the
    block of each query; first: (batch, time) int64, the first block of its document.
    """

    key: Tensor
    value: Tensor
    place: Tensor
    flat: Tensor
    own: Tensor
    first: Tensor


class Landmark(Mixer):
    """Softmax attention with random access to blocks (Landmark Attention: Random-Access Infinite Context Length for
    Transformers, 2023, arXiv 2305.16300).

    ``block``: tokens in a block, counted from the beginning of the document. ``inserted``: the text has a landmark
    token after every block (:func:`insert_landmarks`), as in the paper; these are found by their places, and no later
    position reads them: their keys stand for their blocks, nothing else. Otherwise (default) the text is left as it is,
    and a block's landmark key is that of its last token through a map of its own, which is ours: so the layer can stand
    in any network.

    ``blocks``: how many earlier blocks each query retrieves, those of the best landmarks, in every head or, without
    ``per_head``, the same in all (by the best score of any head). None: all of them, as the paper trains. It is an
    attribute that may be changed after training. Equal scores: the latest block wins. A choice is not smooth: where the
    scores of two landmarks are equal to rounding, two ways to compute the same may read different blocks.

    Positions are rotary and stingy: the latest ``blocks`` blocks stand where they do, every older one, when it is
    scored and when it is read, at the distance of the one before them, so that no distance is met that a text of
    ``blocks`` + 2 blocks has not. Keys are stored unturned. ``qk_norm``: as in
    :class:`seqmem.mixers.attention.Attention`.

    State: keys and values of the whole document, linear in the tokens read. form: "parallel" holds the whole score
    matrix of the call, (batch, heads, time, read + time); "recurrent" is one position at a time. A single position
    without mask and reset, in any form, reads nothing but the landmarks, its own block and those that it retrieves.
    """

    memory: ClassVar[str] = "linear"

    def __init__(
        self,
        width: int,
        *,
        block: int = 16,
        blocks: int | None = 4,
        inserted: bool = False,
        per_head: bool = True,
        heads: int = 4,
        rope_base: float = 10_000.0,
        qk_norm: bool = True,
    ) -> None:
        super().__init__(width)
        _, self.head = check_heads(width, heads, None, None, rope_base, "Landmark")
        if block < 1 or (blocks is not None and blocks < 0):
            raise InputError(f"Landmark: block {block} and blocks {blocks}, expected at least 1 and None or at least 0")
        self.block, self.blocks, self.inserted, self.per_head = block, blocks, inserted, per_head
        self.slots = block + 1 if inserted else block
        self.heads, self.rope_base = heads, rope_base
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norms = HeadNorms(self.head) if qk_norm else None
        self.landmark = None if inserted else nn.Parameter(torch.eye(self.head).repeat(heads, 1, 1))
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> Entries:
        """Nothing was read."""
        return no_entries(batch_size, 0, self.heads, self.head, self.head, self.out.weight)

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
        check_state(state, x, "Landmark")
        if form == "recurrent" and x.shape[1] > 1:
            return one_at_a_time(self, x, state, mask, reset)
        state = self.initial_state(len(x)) if state is None else state
        packing = pack(mask, reset)
        x = to_front(packing, x)
        query, key, value = self._projected(x)
        seen = meet(packing, state, key, value, *places(packing, state.position, x))
        if x.shape[1] == 1 and packing.order is None and packing.document is None:
            read = self._retrieved(query, seen)
        else:
            blocks = self._laid_out(seen)
            weights = self._weights(query, seen, blocks)
            read = torch.einsum("bhtgs,bgshd->bthd", weights, blocks.value.to(weights.dtype))
        return to_place(packing, self.out(read.flatten(2))), kept(packing, seen.entries, None, None)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """The weights (batch, heads, time, time) from an empty state: rows sum to 1, columns of landmark tokens
        (``inserted``) and of padding are zero.
        """
        self.check_input(x, mask, reset, "auto")
        packing = pack(mask, reset)
        packed = to_front(packing, x)
        query, key, value = self._projected(packed)
        state = self.initial_state(len(x))
        seen = meet(packing, state, key, value, *places(packing, state.position, packed))
        blocks = self._laid_out(seen)
        weights = F.pad(self._weights(query, seen, blocks).flatten(3), (0, 1))  # padding is in no block: zero
        index = blocks.flat[:, None, None].expand(*weights.shape[:3], -1)
        return matrix_to_place(packing, weights.gather(3, index))

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        """y (batch, time, width): what is read through the weights (batch, heads, time, time), values from x."""
        value = self._projected(x)[2]
        return self.out(torch.einsum("bhtj,bjhd->bthd", attention, value.to(attention.dtype)).flatten(2))

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (batch, time, heads, head), not turned."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, self.head)).unbind(2)
        if self.norms is not None:
            query, key = self.norms.query(query), self.norms.key(key)
        return query, key, value

    def _tables(self, place: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_tables(place, self.head, self.rope_base, like)

    def _turned(self, x: Tensor, place: Tensor) -> Tensor:
        """x (..., heads, head) at ``place`` (...)."""
        cos, sin = self._tables(place, x)
        return rotate(x, (cos[..., None, :], sin[..., None, :]))

    def _landmark(self, last: Tensor) -> Tensor:
        """Landmark keys (..., heads, head) from the keys of the blocks' last positions."""
        return last if self.landmark is None else torch.einsum("...hd,hde->...he", last, self.landmark.to(last.dtype))

    def _readable(self, like: Tensor) -> Tensor:
        """(slots,) bool: landmark tokens are not read."""
        slot = torch.arange(self.slots, device=like.device)
        return slot < self.block

    def _chosen(self, score: Tensor, allowed: Tensor) -> Tensor:
        """The blocks that are retrieved, (batch, heads, time, ``blocks`` or all) int64, the best first, from landmark
        scores (batch, heads, time, block); among them are some that are not allowed where there are too few.
        """
        count = score.shape[-1]
        score = score.masked_fill(~allowed, -torch.inf)
        if not self.per_head:
            score = score.amax(1, keepdim=True).expand_as(score)
        ranked = count - 1 - score.flip(-1).argsort(dim=-1, descending=True, stable=True)
        return ranked[..., : self.blocks]

    # All queries of a call at once.

    def _laid_out(self, seen: Seen) -> Blocks:
        entries = seen.entries
        there, slot = entries.place != NOWHERE, entries.place % self.slots
        block = (there & (slot == 0)).cumsum(1) - 1  # a document is held from its first position on
        count = int(block.max()) + 1 if block.numel() else 0
        count = max(count, 1)
        flat = (block * self.slots + slot).masked_fill(~there, count * self.slots)

        def laid_out(x: Tensor) -> Tensor:
            room = x.new_zeros(len(x), count * self.slots + 1, *x.shape[2:])
            index = flat.reshape(*flat.shape, *[1] * (x.ndim - 2)).expand_as(x)
            return room.scatter(1, index, x)[:, :-1].unflatten(1, (count, self.slots))

        time = seen.query_place.shape[1]
        own = block[:, -time:].clamp_min(0)
        first = own - seen.query_place // self.slots
        return Blocks(laid_out(entries.key), laid_out(entries.value), laid_out(entries.place), flat, own, first)

    def _weights(self, query: Tensor, seen: Seen, blocks: Blocks) -> Tensor:
        """(batch, heads, time, block, slot)."""
        key, place = blocks.key.to(query.dtype), seen.query_place
        landmark = self._landmark(key[:, :, -1])
        number = torch.arange(key.shape[1], device=key.device)
        distance = blocks.own[..., None] - number  # (batch, time, block)
        turned = self._turned(query, place)
        score = _by_slot(turned, self._turned(key, blocks.place))  # (batch, heads, time, block, slot)
        gate = dot_products(turned, self._turned(landmark, blocks.place[:, :, -1]))  # (batch, heads, time, block)
        if self.blocks is not None and key.shape[1] > self.blocks + 1:
            far = (distance > self.blocks)[:, None]
            turned = self._turned(query, self._far(place))
            slot = torch.arange(self.slots, device=key.device)
            score = torch.where(far[..., None], _by_slot(turned, self._turned(key, slot)), score)
            gate = torch.where(far, dot_products(turned, self._turned(landmark, slot[-1])), gate)

        allowed = ((distance > 0) & (number >= blocks.first[..., None]))[:, None].expand_as(gate)
        if self.blocks is not None:
            retrieved = torch.zeros_like(allowed).scatter(3, self._chosen(gate, allowed), True)
            allowed = allowed & retrieved
        present = seen.allowed.any(2)  # padding sees nothing
        slots = self._readable(key) & (torch.arange(self.slots, device=key.device) <= (place % self.slots)[..., None])
        slots = (slots & present[..., None])[:, None].expand(-1, self.heads, -1, -1)
        own = blocks.own[:, None, :, None, None].expand(*score.shape[:3], 1, self.slots)
        near, gate = _first(score.gather(3, own).squeeze(3), slots, gate, allowed)
        within = self._within(score) * gate[..., None]
        return torch.where((distance == 0)[:, None, ..., None], near[..., None, :], within)

    def _within(self, score: Tensor) -> Tensor:
        """Softmax over the slots of a whole block."""
        return score.masked_fill(~self._readable(score), torch.finfo(score.dtype).min).softmax(-1)

    def _far(self, place: Tensor) -> Tensor:
        """Where a query at ``place`` stands for blocks that are older than the latest ``blocks``."""
        assert self.blocks is not None
        return (self.blocks + 1) * self.slots + place % self.slots

    # A single query of every row.

    def _retrieved(self, query: Tensor, seen: Seen) -> Tensor:
        """What is read, (batch, 1, heads, head), without a look at the tokens of blocks that are not retrieved."""
        entries, place = seen.entries, seen.query_place  # (batch, 1)
        end = entries.place.shape[1] - 1
        begin = end - place  # the index of place 0: rows stand at the right end
        row = torch.arange(len(place), device=place.device)[:, None]
        slot = torch.arange(self.slots, device=place.device)
        own = place // self.slots  # (batch, 1)

        at = own * self.slots + slot  # (batch, slot), of t's own block
        index = (begin + at).clamp_max(end)
        own_key, own_value = entries.key[row, index], entries.value[row, index]  # (batch, slot, heads, head)
        turned = self._turned(query, place)
        near = dot_products(turned, self._turned(own_key, at))  # (batch, heads, 1, slot)
        slots = ((at <= place) & self._readable(at))[:, None, None].expand_as(near)

        number = torch.arange(int(own.max()), device=place.device)
        last = (number + 1) * self.slots - 1
        landmark = self._landmark(entries.key[row, (begin + last).clamp_max(end)])
        gate = dot_products(turned, self._turned(landmark, last))  # (batch, heads, 1, block)
        far = torch.zeros_like(gate, dtype=torch.bool)
        if self.blocks is not None:
            far = (own - number > self.blocks)[:, None, None].expand_as(gate)
            at_end = dot_products(self._turned(query, self._far(place)), self._turned(landmark, slot[-1]))
            gate = torch.where(far, at_end, gate)
        allowed = (number < own)[:, None, None].expand_as(gate)
        chosen = self._chosen(gate, allowed)  # (batch, heads, 1, k)
        gate, allowed, far = (part.gather(3, chosen) for part in (gate, allowed, far))

        at = chosen[..., None] * self.slots + slot  # (batch, heads, 1, k, slot)
        index = (begin[..., None, None, None] + at).clamp_max(end)
        head = torch.arange(self.heads, device=place.device)[:, None, None, None]
        key, value = (part[row[..., None, None, None], index, head] for part in (entries.key, entries.value))
        stands = place[:, None, :, None]
        stands = torch.where(far, self._far(stands), stands) if self.blocks is not None else stands.expand_as(far)
        turned = rotate(query.transpose(1, 2)[:, :, :, None], self._tables(stands, query))
        key = rotate(key.to(query.dtype), self._tables(torch.where(far[..., None], slot, at), query))
        score = torch.einsum("bhtkd,bhtksd->bhtks", turned, key) * self.head**-0.5

        near, gate = _first(near, slots, gate, allowed)
        read = torch.einsum("bhts,bshd->bthd", near, own_value.to(near.dtype))
        within = self._within(score) * gate[..., None]
        return read + torch.einsum("bhtks,bhtksd->bthd", within, value.to(within.dtype))


def _by_slot(query: Tensor, key: Tensor) -> Tensor:
    """Scores (batch, heads, time, block, slot) with keys (batch, block, slot, heads, head)."""
    return dot_products(query, key.flatten(1, 2)).unflatten(-1, key.shape[1:3])


def _first(near: Tensor, slots: Tensor, gate: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The softmax in which a query's own block competes with the landmarks: scores and what is allowed of both, (batch,
    heads, time, slot) and (batch, heads, time, block), to weights of the same shapes.
    """
    weights = softmax_over(torch.cat([near, gate], -1), torch.cat([slots, allowed], -1))
    return weights[..., : near.shape[-1]], weights[..., near.shape[-1] :]


def insert_landmarks(tokens: Tensor, block: int, landmark: int) -> Tensor:
    """(batch, time) int64 with the token ``landmark`` behind every ``block`` positions, (batch, time + time // block).

    For targets give the value that asks for nothing, -100.
    """
    if tokens.ndim != 2 or block < 1:
        raise InputError(
            f"insert_landmarks: tokens of shape {tuple(tokens.shape)} and block {block}, expected (batch, time) and a "
            "block of at least 1"
        )
    whole = tokens.shape[1] // block * block
    marked = F.pad(tokens[:, :whole].unflatten(1, (whole // block, block)), (0, 1), value=landmark).flatten(1)
    return torch.cat([marked, tokens[:, whole:]], 1)
