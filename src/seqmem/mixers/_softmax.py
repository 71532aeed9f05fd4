"""What full and local softmax attention share: the projections, the key-value state and the explicit matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._packing import Packing
from seqmem.mixers._rotary import Turning, rotary_tables, rotate, sinusoids
from seqmem.mixers.base import split_heads


class AttentionState(NamedTuple):
    """Keys and values read so far.

    Every row's entries stand at the right end, in order; what is left of them is not valid and zero.
    """

    key: Tensor  # (batch, kv_heads, read, head), turned by their rotary positions
    value: Tensor  # (batch, kv_heads, read, head)
    valid: Tensor  # (batch, read) bool
    position: Tensor  # (batch,) int64: tokens read since the last reset, padding not counted


def check_heads(
    width: int, heads: int, kv_heads: int | None, head: int | None, rope_base: float | None, owner: str
) -> tuple[int, int]:
    """(kv_heads, size of one head), or InputError for numbers that do not fit together."""
    for label, count in (("heads", heads), ("kv_heads", kv_heads), ("head", head)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise InputError(f"{owner}: {label} is {count!r}, expected a whole number of at least 1")
    size = split_heads(width, heads, owner) if head is None else head
    if size % 2 and head is not None:
        raise InputError(f"{owner}: head is {head}, expected an even size for rotary positions")
    if size % 2:
        raise InputError(
            f"{owner}: width {width} over {heads} heads gives heads of size {size}, "
            f"expected an even size for rotary positions; choose a multiple of {2 * heads} as width or set heads="
        )
    kv_heads = heads if kv_heads is None else kv_heads
    if heads % kv_heads:
        raise InputError(f"{owner}: heads {heads} is not divisible by kv_heads {kv_heads}; choose a divisor of {heads}")
    if rope_base is not None and not rope_base > 0:
        raise InputError(f"{owner}: rope_base is {rope_base!r}, expected a number above 0")
    return kv_heads, size


def check_turning(rope_base: float | None, frequencies: Sequence[float] | None, size: int, owner: str) -> Turning:
    """How pairs of channels turn, from the two options that say it; InputError for frequencies that cannot be meant."""
    if frequencies is None:
        return rope_base
    if len(frequencies) != size // 2 or not all(math.isfinite(f) for f in frequencies):
        raise InputError(
            f"{owner}: frequencies has {len(frequencies)} numbers, expected {size // 2} finite ones, half as many as a "
            f"head has channels ({size}), in radians per position"
        )
    return tuple(float(f) for f in frequencies)


def empty_state(batch_size: int, kv_heads: int, read: int, size: int, like: Tensor) -> AttentionState:
    """A state with room for ``read`` entries, none of them valid."""
    return AttentionState(
        key=like.new_zeros(batch_size, kv_heads, read, size),
        value=like.new_zeros(batch_size, kv_heads, read, size),
        valid=like.new_zeros(batch_size, read, dtype=torch.bool),
        position=like.new_zeros(batch_size, dtype=torch.int64),
    )


class HeadNorms(nn.Module):
    """Queries and keys of unit root mean square in every head, each with a learned scale per channel.

    As in Qwen3 and OLMo 2. Query-Key Normalization for Transformers (2020), arXiv 2010.04245.
    """

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.query = nn.RMSNorm(size, eps=eps)
        self.key = nn.RMSNorm(size, eps=eps)


def project(
    qkv: nn.Linear,
    norms: HeadNorms | None,
    x: Tensor,
    position: Tensor,
    heads: int,
    size: int,
    base: Turning,
    added: bool = False,
) -> tuple[Tensor, ...]:
    """Query (batch, heads, time, head), key and value (batch, kv_heads, time, head); the first two normed and turned.

    qkv: one map to the queries of all heads, then all keys, then all values. position: (time,) or (batch, time).
    added: queries and keys, but not values, are of x and the sinusoids of its positions.
    """
    parts = qkv(x).unflatten(-1, (-1, size)).transpose(1, 2)  # (batch, heads + 2 kv_heads, time, head)
    kv_heads = (parts.shape[1] - heads) // 2
    turning, value = parts.split([heads + kv_heads, kv_heads], 1)
    if added:
        map_places = qkv.weight[: (heads + kv_heads) * size]
        places = F.linear(sinusoids(position, x.shape[-1], x), map_places).unflatten(-1, (-1, size))
        turning = turning + places.transpose(-2, -3)  # ([batch,] heads + kv_heads, time, head)
    if norms is not None:
        query, key = turning.split([heads, kv_heads], 1)
        turning = torch.cat([norms.query(query), norms.key(key)], 1)
    if base is not None:
        cos, sin = rotary_tables(position, size, base, x)
        if position.ndim == 2:
            cos, sin = cos[:, None], sin[:, None]  # (batch, 1, time, head)
        turning = rotate(turning, (cos, sin))
    query, key = turning.split([heads, kv_heads], 1)
    return query, key, value


def extended(
    packing: Packing, state: AttentionState | None, key: Tensor, value: Tensor, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(key, value, valid), entries of ``state`` first, in the dtype of ``like``, in memory that nothing else shares."""
    batch, _, time, _ = key.shape
    valid = key.new_ones(batch, time, dtype=torch.bool) if packing.real is None else packing.real
    if state is None:
        return key.to(like.dtype).contiguous(), value.to(like.dtype).contiguous(), valid
    key = torch.cat([state.key, key.to(like.dtype)], 2)
    value = torch.cat([state.value, value.to(like.dtype)], 2)
    return key, value, torch.cat([state.valid, valid], 1)


def attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """softmax(query . key / sqrt(head)) value, (batch, heads, time, head); None for ``allowed`` means plain causal."""
    return F.scaled_dot_product_attention(
        query,
        key.to(query.dtype),
        value.to(query.dtype),
        attn_mask=allowed,
        is_causal=allowed is None,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def is_decoding(packing: Packing, state: AttentionState | None, x: Tensor) -> bool:
    """A single position with no mask and no reset: it sees every valid entry, so no matrix need be built."""
    return x.shape[1] == 1 and state is not None and packing.order is None and packing.document is None


def positions(packing: Packing, past: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """(position of every token, position after the last): tokens since the last reset.

    past: (batch,), where the count stood before. The first result is (time,) where it is the same for every
    row, else (batch, time); the second is (batch,).
    """
    batch, time, _ = x.shape
    plain = packing.order is None and packing.document is None
    if plain and past is not None and time == 1:  # decoding
        return past[:, None], past + 1
    index = torch.arange(time, device=x.device)
    before = index if past is None else past[:, None] + index
    if plain:
        return before, index.new_full((batch,), time) if past is None else past + time

    real = index.new_ones(batch, time, dtype=torch.bool) if packing.real is None else packing.real
    begin = index.new_zeros(batch) if past is None else past
    if packing.document is None or packing.last is None:
        return before, begin + real.sum(1)
    starts = packing.document != F.pad(packing.document, (1, 0))[:, :-1]  # the first token of a document
    origin = torch.where(starts, index, -begin[:, None]).cummax(1).values
    read = (real & (packing.document == packing.last[:, None])).sum(1)
    return index - origin, read + begin.where(packing.last == 0, 0)


def tags(packing: Packing, state: AttentionState | None, x: Tensor) -> Tensor:
    """(batch or 1, read + time) int64: entries of a row see each other only where these agree; -1 where nothing is."""
    batch, time, _ = x.shape
    new = packing.document
    if state is None:
        return new if new is not None else torch.zeros(1, time, dtype=torch.int64, device=x.device)
    old = state.valid.long() - 1
    return torch.cat([old, new if new is not None else old.new_zeros(batch, time)], 1)


def updated(
    packing: Packing, key: Tensor, value: Tensor, valid: Tensor, position: Tensor, read: int | None
) -> AttentionState:
    """The state after this call. key, value (batch, kv_heads, entries, head), valid (batch, entries): as extended.

    Keeps the newest ``read`` entries of the current document, or all of them when None; drops padding and what a reset
    made unreachable.
    """
    entries = valid.shape[1]
    keep = valid
    if packing.document is not None and packing.last is not None:
        old = (packing.last == 0)[:, None].expand(-1, entries - packing.document.shape[1])
        keep = keep & torch.cat([old, packing.document == packing.last[:, None]], 1)

    if packing.order is not None or packing.document is not None:  # gather what is kept at the right end
        order = torch.argsort(keep, dim=1, stable=True)
        longest = int(keep.sum(1).max()) if read is None else min(read, entries)
        order = order[:, entries - longest :]
        keep = keep.gather(1, order)
        index = order[:, None, :, None].expand(-1, key.shape[1], -1, key.shape[-1])
        blank = ~keep[:, None, :, None]
        key, value = key.gather(2, index).masked_fill(blank, 0), value.gather(2, index).masked_fill(blank, 0)
    if read is not None and key.shape[2] > read:
        start = key.shape[2] - read
        key, value, keep = (
            key[:, :, start:].contiguous(),
            value[:, :, start:].contiguous(),
            keep[:, start:].contiguous(),
        )
    elif read is not None and key.shape[2] < read:
        room = read - key.shape[2]
        key, value, keep = F.pad(key, (0, 0, room, 0)), F.pad(value, (0, 0, room, 0)), F.pad(keep, (room, 0))
    return AttentionState(key, value, keep, position)


def merge(y: Tensor, out: nn.Linear, gate: nn.Linear | None, x: Tensor) -> Tensor:
    """(batch, heads, time, head) -> (batch, time, width): heads side by side, times sigmoid(gate(x)) where there is a
    gate, then the output projection."""
    y = y.transpose(1, 2).flatten(2)
    return out(y if gate is None else y * torch.sigmoid(gate(x)))


def softmax_over(score: Tensor, allowed: Tensor) -> Tensor:
    """softmax over the last axis of (batch, heads, time, entries) where ``allowed`` (batch, time, entries) or (batch,
    heads, time, entries); a row that sees nothing is zero.
    """
    hidden = ~(allowed if allowed.ndim == 4 else allowed[:, None])
    return score.masked_fill(hidden, torch.finfo(score.dtype).min).softmax(-1).masked_fill(hidden, 0)


def explicit_weights(query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
    """The softmax matrix itself, (batch, heads, time, time).

    allowed: (batch or 1, time, time) bool; a row with nothing to see is zero.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    return softmax_over(query @ key.mT / query.shape[-1] ** 0.5, allowed)


def explicit_allowed(x: Tensor, mask: Tensor | None, reset: Tensor | None, window: int | None) -> tuple[Tensor, Tensor]:
    """(allowed (batch, time, time) bool, position (batch, time)), with every position left where it is.

    Position t sees position s when s is real, not later, in the same document and, given a window, fewer than
    ``window`` real positions back.
    """
    real = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    count = real.cumsum(1)
    distance = count[:, :, None] - count[:, None, :]
    allowed = real[:, None, :] & torch.ones_like(distance, dtype=torch.bool).tril()
    if reset is not None:
        document = reset.cumsum(1)
        allowed = allowed & (document[:, :, None] == document[:, None, :])
    if window is not None:
        allowed = allowed & (distance < window)
    return allowed, count - 1


def read_values(
    qkv: nn.Linear, out: nn.Linear, gate: nn.Linear | None, x: Tensor, attention: Tensor, size: int
) -> Tensor:
    """y (batch, time, width): the output projection of attention_h @ value_h, all heads side by side."""
    heads = attention.shape[1]
    value = qkv(x).unflatten(-1, (-1, size)).transpose(1, 2)[:, heads:].chunk(2, 1)[1]
    return merge(attention @ value.repeat_interleave(heads // value.shape[1], 1), out, gate, x)
