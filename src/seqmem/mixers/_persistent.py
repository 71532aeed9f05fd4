"""Attention over a window and over learned tokens that are always in view: the short-term memory of Titans."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import _softmax as softmax
from seqmem.mixers._packing import pack, to_front, to_place
from seqmem.mixers._softmax import AttentionState
from seqmem.mixers.local_attention import banded_attention


class PersistentTokens(nn.Module):
    """``count`` learned tokens, as keys and values of an attention; without positions."""

    def __init__(self, width: int, count: int, owner: str) -> None:
        super().__init__()
        if count < 1:
            raise InputError(f"{owner}: persistent is {count}, expected at least 1 token")
        self.tokens = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self, qkv: nn.Linear, head: int) -> tuple[Tensor, Tensor]:
        """Keys and values, (heads, count, head) each, through the projections of the attention that they serve."""
        parts = qkv(self.tokens).unflatten(-1, (-1, head)).transpose(0, 1)  # (3 heads, count, head)
        _, key, value = parts.chunk(3, 0)
        return key, value


class WindowAttention(nn.Module):
    """Softmax attention in which position t sees the persistent tokens, itself and the ``window`` - 1 positions before
    it, with rotary positions. Its state is that of :class:`seqmem.mixers.local_attention.LocalAttention`.
    """

    def __init__(self, width: int, heads: int, window: int, persistent: int, rope_base: float, owner: str) -> None:
        super().__init__()
        _, self.head = softmax.check_heads(width, heads, None, None, rope_base, owner)
        if not isinstance(window, int) or window < 1:
            raise InputError(f"{owner}: window is {window!r}, expected a whole number of at least 1")
        self.heads, self.window, self.rope_base = heads, window, rope_base
        self.persistent = PersistentTokens(width, persistent, owner)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> AttentionState:
        """Nothing read."""
        return softmax.empty_state(batch_size, self.heads, self.window - 1, self.head, self.out.weight)

    def forward(
        self, x: Tensor, state: AttentionState, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, AttentionState]:
        """x (batch, time, width) -> the same shape; mask and reset as in :mod:`seqmem.mixers.base`."""
        packing = pack(mask, reset)
        x = to_front(packing, x)
        position, after = softmax.positions(packing, state.position, x)
        query, new_key, new_value = softmax.project(self.qkv, None, x, position, self.heads, self.head, self.rope_base)
        key, value, valid = softmax.extended(packing, state, new_key, new_value, self.out.weight)
        tags = softmax.tags(packing, state, x)
        always = self.persistent(self.qkv, self.head)
        y = banded_attention(query, key.to(query.dtype), value.to(query.dtype), tags, self.window, always)
        state = softmax.updated(packing, key, value, valid, after, self.window - 1)
        return to_place(packing, softmax.merge(y, self.out, None, x)), state
