"""Causal softmax attention over the last few positions: a perfect memory of constant size that ends at its window.

Longformer: The Long-Document Transformer (2020), arXiv 2004.05150; here causal, with rotary positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import _softmax as softmax
from seqmem.mixers._decoding import decodes, linear, rms_epsilon, rotary_frequencies, run_kernel
from seqmem.mixers._packing import check_state, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._softmax import AttentionState
from seqmem.mixers.base import Mixer


class LocalAttention(Mixer):
    """Attention in which position t sees itself and the ``window`` - 1 positions before it; padding is not counted.

    width: divisible by ``heads`` into heads of even size. kv_heads: groups of query heads that share keys and values;
    default ``heads``. All other options: as in :class:`seqmem.mixers.attention.Attention`.

    Form "auto" is "parallel", for any time: queries in blocks of ``window``, each against its own and the previous
    block, so cost and memory are linear in time (from an empty state and up to ``window`` positions: one plain causal
    call). "recurrent": one position at a time.

    State: :class:`AttentionState` with exactly ``window`` - 1 entries from the beginning, those not yet read not valid.
    """

    memory: ClassVar[str] = "constant"

    def __init__(
        self,
        width: int,
        *,
        window: int = 64,
        heads: int = 4,
        kv_heads: int | None = None,
        head: int | None = None,
        rope_base: float | None = 10_000.0,
        frequencies: Sequence[float] | None = None,
        qk_norm: bool = True,
        norm_eps: float = 1e-6,
        bias: bool = False,
        out_bias: bool = False,
        gated: bool = False,
    ) -> None:
        super().__init__(width)
        if not isinstance(window, int) or isinstance(window, bool) or window < 1:
            raise InputError(f"LocalAttention: window is {window!r}, expected a whole number of at least 1")
        self.kv_heads, self.head = softmax.check_heads(width, heads, kv_heads, head, rope_base, "LocalAttention")
        self.window = window
        self.heads = heads
        self.rope_base = rope_base
        self.turning = softmax.check_turning(rope_base, frequencies, self.head, "LocalAttention")
        self.qkv = nn.Linear(width, (heads + 2 * self.kv_heads) * self.head, bias=bias)
        self.norms = softmax.HeadNorms(self.head, norm_eps) if qk_norm else None
        self.gate = nn.Linear(width, heads * self.head, bias=bias) if gated else None
        self.out = nn.Linear(heads * self.head, width, bias=out_bias)

    def initial_state(self, batch_size: int) -> AttentionState:
        """Room for ``window`` - 1 entries, none of them valid."""
        return softmax.empty_state(batch_size, self.kv_heads, self.window - 1, self.head, self.out.weight)

    def forward(
        self,
        x: Tensor,
        state: AttentionState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, AttentionState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        if decodes(self, x, state, mask, reset, form):
            return self.step(x, state)  # type: ignore[arg-type]
        self.check_input(x, mask, reset, form)
        check_state(state, x, "LocalAttention")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)

        packing = pack(mask, reset)
        x = to_front(packing, x)
        position, after = softmax.positions(packing, None if state is None else state.position, x)
        query, new_key, new_value = softmax.project(
            self.qkv, self.norms, x, position, self.heads, self.head, self.turning
        )
        plain = state is None and packing.document is None and x.shape[1] <= self.window
        if state is None and not plain:
            state = self.initial_state(x.shape[0])
        key, value, valid = softmax.extended(packing, state, new_key, new_value, self.out.weight)
        if plain:
            y = softmax.attend(query, key, value, None)  # (batch, heads, time, head)
        elif softmax.is_decoding(packing, state, x):
            y = softmax.attend(query, key, value, valid[:, None, None])
        else:
            y = banded_attention(query, key, value, softmax.tags(packing, state, x), self.window)
        state = softmax.updated(packing, key, value, valid, after, self.window - 1)
        return to_place(packing, softmax.merge(y, self.out, self.gate, x)), state

    def step(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now, norms = x[:, 0], self.norms
        o = now.new_empty(len(now), self.heads * self.head)  # which is width only where head is left to itself
        new = AttentionState(*(torch.empty_like(part) for part in state))
        scales = (None, None) if norms is None else (norms.query.weight, norms.key.weight)
        turning = rotary_frequencies(self.head, self.turning)
        sizes = len(now), self.heads, self.kv_heads, self.window - 1, self.head
        eps = 0.0 if norms is None else rms_epsilon(norms.query)
        run_kernel("make_local_attention_step", (linear(self.qkv, now), *scales, turning, *state, o, *new), *sizes, eps)
        if self.gate is not None:
            o = o * torch.sigmoid(linear(self.gate, now))
        return linear(self.out, o)[:, None], new

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """The softmax weights A (batch, heads, time, time) from an empty state, zero outside the window."""
        self.check_input(x, mask, reset, "auto")
        allowed, position = softmax.explicit_allowed(x, mask, reset, self.window)
        query, key, _ = softmax.project(self.qkv, self.norms, x, position, self.heads, self.head, self.turning)
        return softmax.explicit_weights(query, key, allowed)

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        """y = out(concat_h A_h V_h): what is read through the weights A (batch, heads, time, time), values from x.

        ``read(x, attention(x))`` is the y of ``forward``.
        """
        return softmax.read_values(self.qkv, self.out, self.gate, x, attention, self.head)


def banded_attention(
    query: Tensor, key: Tensor, value: Tensor, tag: Tensor, window: int, always: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Query t sees entries t to t + window - 1 whose tag is its own; its own entry is the last of them.

    query: (batch, heads, time, head). key, value: (batch, kv_heads, window - 1 + time, head). tag: (batch or 1,
    window - 1 + time) int64. always: keys and values (kv_heads, entries, head) that every query sees besides. Returns
    (batch, heads, time, head).
    """
    batch, _, time, _ = query.shape
    block = min(window, time)
    fill = -time % block
    blocks = (time + fill) // block
    lead = 0 if blocks == 1 else 1  # one entry in front, so that entries too come in whole blocks

    def spans(x: Tensor) -> Tensor:
        """(batch, kv_heads, entries, head) -> (batch * blocks, kv_heads, span, head): what each block may see."""
        if blocks == 1:
            return x
        x = F.pad(x, (0, 0, lead, fill)).unflatten(2, (blocks + 1, block)).transpose(1, 2)
        return torch.cat([x[:, :-1], x[:, 1:]], 3).flatten(0, 1)

    if blocks > 1:
        query = F.pad(query, (0, 0, 0, fill)).unflatten(2, (blocks, block)).transpose(1, 2).flatten(0, 1)
    tag = F.pad(tag, (lead, fill))
    span = block + window - 1 + lead
    own = tag[:, tag.shape[1] - blocks * block :].unflatten(1, (blocks, block))  # (batch or 1, blocks, block)
    seen = tag.unfold(1, span, block)  # (batch or 1, blocks, span)
    band = torch.ones(block, span, dtype=torch.bool, device=tag.device).tril(lead + window - 1).triu(lead)
    allowed = (own[..., None] == seen[..., None, :]) & band  # (batch or 1, blocks, block, span)
    allowed = allowed.expand(batch, -1, -1, -1).flatten(0, 1)[:, None]

    keys, values = spans(key), spans(value)
    if always is not None:
        keys, values = (
            torch.cat([a.to(x.dtype).expand(len(x), -1, -1, -1), x], 2)
            for a, x in zip(always, (keys, values), strict=True)
        )
        allowed = F.pad(allowed, (always[0].shape[1], 0), value=True)
    y = softmax.attend(query, keys, values, allowed)  # (batch * blocks, heads, block, head)
    return y.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :time]
