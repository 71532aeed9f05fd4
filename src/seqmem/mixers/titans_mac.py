"""Titans, memory as context:  h = M_old(q),  a = attention([P | h | x]) in the segment,  y = W_o (a * s(M_t(a)))."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers import _softmax as softmax
from seqmem.mixers._neural_memory import NeuralMemory
from seqmem.mixers._persistent import PersistentTokens
from seqmem.mixers._rotary import rotary_tables, rotate
from seqmem.mixers._shared import at_padding, l2_normalise, resume
from seqmem.mixers.base import Mixer
from seqmem.ops import MemoryState
from seqmem.ops.memory_update import pieces_of_chunks


class TitansMACState(NamedTuple):
    """memory: of M, whose chunks are the segments. key, value: (batch, heads, 2, segment, head), of h and of x, at
    their places in the present segment; what lies behind its newest position is left over and never looked at.
    """

    memory: MemoryState
    key: Tensor
    value: Tensor


class TitansMAC(Mixer):
    """The block of Titans in which what the memory recalls is context for an attention (Titans: Learning to Memorize at
    Test Time, 2024, arXiv 2501.00663).

    The sequence is read in segments of ``segment`` positions. M as the segment found it is asked for every position: h.
    Attention goes over ``persistent`` learned tokens P, and h and x of the segment up to the present position (with
    rotary positions, counted within the segment). Its output a is what M learns from, with all gradients of a segment
    taken at its beginning, and what M is asked again: y = W_o (a * sigmoid(RMSNorm(M_t(a)))). M, theta, eta and alpha:
    as in :class:`seqmem.mixers.titans.Titans`, without its convolution.

    form: "chunk", segment by segment; there is no other.
    """

    forms: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        segment: int = 16,
        persistent: int = 4,
        memory_layers: int = 2,
        expand: float = 1.0,
        rope_base: float = 10_000.0,
    ) -> None:
        super().__init__(width)
        _, self.head = softmax.check_heads(width, heads, None, None, rope_base, "TitansMAC")
        self.heads, self.segment, self.rope_base = heads, segment, rope_base
        self.learner = NeuralMemory(width, heads, memory_layers, expand, segment, "TitansMAC")
        self.persistent = PersistentTokens(width, persistent, "TitansMAC")
        self.ask = nn.Linear(width, width, bias=False)  # x -> q of h
        self.qkv = nn.Linear(width, 3 * width, bias=False)  # of the attention, for x, h and P
        self.learn = nn.Linear(width, 3 * width, bias=False)  # a -> q, k, v of M
        self.norm = nn.RMSNorm(self.head, eps=1e-6)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> TitansMACState:
        """The learned beginning of M; nothing read."""
        empty = self.out.weight.new_zeros(batch_size, self.heads, 2, self.segment, self.head)
        return TitansMACState(self.learner.initial_state(batch_size), empty, empty)

    def forward(
        self,
        x: Tensor,
        state: TitansMACState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, TitansMACState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        cuts, starts, place, _ = pieces_of_chunks(state.memory.position, x.shape[1], self.segment, mask, reset)
        asked = l2_normalise(self.ask(x).unflatten(-1, (self.heads, self.head)))
        ys = []
        for start, stop in pairwise(cuts):
            t = slice(start, stop)
            real, fresh = (None if flags is None else flags[:, t] for flags in (mask, reset))
            y, state = self._piece(x[:, t], asked[:, t], starts[:, start], place[:, t], state, real, fresh)
            ys.append(y)
        return torch.cat(ys, 1), state

    def _piece(
        self,
        x: Tensor,
        asked: Tensor,
        new: Tensor,
        place: Tensor,
        state: TitansMACState,
        mask: Tensor | None,
        reset: Tensor | None,
    ) -> tuple[Tensor, TitansMACState]:
        """Positions of which each row's belong to one segment. new: (batch,), a segment begins; place: (batch, time),
        where in the segment a position stands.
        """
        before = state.memory
        found = before.weights  # as the segment found them
        if reset is not None:
            begin = self.learner.initial_state(len(x)).weights
            found = tuple(_where(reset[:, 0], b, w) for b, w in zip(begin, found, strict=True))
        found = tuple(_where(new, w, a) for w, a in zip(found, before.anchor, strict=True))
        h = self.learner.read(asked, found).flatten(-2)  # (batch, time, width)
        a, key, value = self._attend(x, h, place, state.key, state.value, mask)
        q, k, v = self.learn(a).to(self.out.weight.dtype).unflatten(-1, (3, self.heads, self.head)).unbind(2)
        m, memory = self.learner.update(a, l2_normalise(q), l2_normalise(k), v, before, mask, reset)
        y = self.out(a * torch.sigmoid(self.norm(m.to(self.out.weight.dtype)).flatten(-2)))
        return y, TitansMACState(memory, key, value)

    def _attend(
        self, x: Tensor, h: Tensor, place: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is attended to (batch, time, width), and the segment's keys and values with the new ones in place."""
        both = torch.stack([h, x], 1)  # (batch, 2, time, width)
        parts = self.qkv(both).unflatten(-1, (3, self.heads, self.head)).permute(3, 0, 4, 1, 2, 5)
        tables = rotary_tables(place[:, None, None], self.head, self.rope_base, parts)
        query, new_key = rotate(parts[0, :, :, 1:], tables)[:, :, 0], rotate(parts[1], tables)
        key, value = (_placed(old, new, place, mask) for old, new in ((key, new_key), (value, parts[2])))

        always_key, always_value = (p.expand(len(x), -1, -1, -1) for p in self.persistent(self.qkv, self.head))
        keys = torch.cat([always_key, key.flatten(2, 3)], 2).to(query.dtype)
        values = torch.cat([always_value, value.flatten(2, 3)], 2).to(query.dtype)
        seen = torch.arange(self.segment, device=x.device) <= place[..., None]  # (batch, time, segment)
        always = seen.new_ones(*place.shape, always_key.shape[2])
        y = softmax.attend(query, keys, values, torch.cat([always, seen, seen], -1)[:, None])
        return y.transpose(1, 2).flatten(2), key, value


def _where(flag: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(flag.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _placed(old: Tensor, new: Tensor, place: Tensor, mask: Tensor | None) -> Tensor:
    """``old`` (batch, heads, 2, segment, head) with ``new`` (batch, heads, 2, time, head) at its places; padding goes
    nowhere.
    """
    segment = old.shape[3]
    place = place if mask is None else place.where(mask, segment)
    index = place[:, None, None, :, None].expand_as(new)
    room = torch.cat([old, torch.zeros_like(old[:, :, :, :1])], 3)
    return room.scatter(3, index, new.to(old.dtype))[:, :, :, :segment]
