"""A memory of entries: what attention layers keep of every token, with its place in the document.

For variants of softmax attention that want the whole score matrix of a call, (time, read + time), before the softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.mixers._packing import Packing
from seqmem.mixers._softmax import positions

NOWHERE = -1


class Entries(NamedTuple):
    """key: (batch, entries, heads, size); value: (batch, entries, heads, size'); place: (batch, entries) int64, the
    position in the document, -1 where nothing stands; position: (batch,) int64, how much of the document was read.
    What a row holds stands at the right end, in order.
    """

    key: Tensor
    value: Tensor
    place: Tensor
    position: Tensor


class Seen(NamedTuple):
    """What the queries of a call meet: the entries, old and new; query_place: (batch, time) int64; allowed: (batch,
    time, entries) bool, of the same document, not later, and there.
    """

    entries: Entries
    query_place: Tensor
    allowed: Tensor


def no_entries(batch: int, count: int, heads: int, key: int, value: int, like: Tensor) -> Entries:
    """Room for ``count`` entries where nothing stands."""
    place = like.new_full((batch, count), NOWHERE, dtype=torch.int64)
    return Entries(
        like.new_zeros(batch, count, heads, key),
        like.new_zeros(batch, count, heads, value),
        place,
        like.new_zeros(batch, dtype=torch.int64),
    )


def places(packing: Packing, past: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """((batch, time) place of each packed token in its document, (batch,) after the last)."""
    place, after = positions(packing, past, x)
    return place.expand(x.shape[:2]), after


def meet(packing: Packing, state: Entries, key: Tensor, value: Tensor, place: Tensor, after: Tensor) -> Seen:
    """Put the new keys and values, (batch, time, heads, size) in packed order, behind the old ones."""
    batch, time = key.shape[:2]
    document = place.new_zeros(batch, time) if packing.document is None else packing.document
    there = place if packing.real is None else place.masked_fill(~packing.real, NOWHERE)
    entries = Entries(
        torch.cat([state.key, key.to(state.key.dtype)], 1),
        torch.cat([state.value, value.to(state.value.dtype)], 1),
        torch.cat([state.place, there], 1),
        after,
    )
    read = state.place.shape[1]
    owner = torch.cat([document.new_zeros(batch, read), document], 1)  # what was read belongs to the first document
    allowed = (document[:, :, None] == owner[:, None]) & (entries.place[:, None] != NOWHERE)
    return Seen(entries, place, allowed.tril(read))


def kept(packing: Packing, entries: Entries, wanted: Tensor | None, count: int | None) -> Entries:
    """The entries of the present document that are ``wanted`` (batch, entries) bool, at the right end, ``count`` of
    them (None: as many as the fullest row has).
    """
    keep = entries.place != NOWHERE
    if wanted is not None:
        keep = keep & wanted
    if packing.document is not None and packing.last is not None:
        old = (packing.last == 0)[:, None].expand(-1, keep.shape[1] - packing.document.shape[1])
        keep = keep & torch.cat([old, packing.document == packing.last[:, None]], 1)
    count = int(keep.sum(1).max()) if count is None else count
    missing = count - keep.shape[1]
    if missing > 0:
        keep = torch.cat([keep.new_zeros(keep.shape[0], missing), keep], 1)
        entries = _padded(entries, missing)
    order = torch.argsort(keep, dim=1, stable=True)[:, keep.shape[1] - count :]
    keep = keep.gather(1, order)
    row = torch.arange(len(keep), device=keep.device)[:, None]
    blank = ~keep[..., None, None]
    return Entries(
        entries.key[row, order].masked_fill(blank, 0),
        entries.value[row, order].masked_fill(blank, 0),
        entries.place[row, order].masked_fill(~keep, NOWHERE),
        entries.position,
    )


def _padded(entries: Entries, count: int) -> Entries:
    nothing = no_entries(
        len(entries.place), count, entries.key.shape[2], entries.key.shape[3], entries.value.shape[3], entries.key
    )
    key, value, place = (torch.cat([new, old], 1) for new, old in zip(nothing[:3], entries[:3], strict=True))
    return Entries(key, value, place, entries.position)
