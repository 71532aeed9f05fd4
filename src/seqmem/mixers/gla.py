"""Gated linear attention:  S_t = diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t / sqrt(key)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._channel_memory import explicit_channel_attention, write_and_read_channels
from seqmem.mixers._matrix_memory import FORMS, read_heads
from seqmem.mixers._shared import at_padding, resume, scaled_width
from seqmem.mixers.base import Mixer, split_heads

TEMPERATURE = 16.0  # the paper's tau: how much slower than a sigmoid the memory forgets


class GLAState(NamedTuple):
    """memory: (batch, heads, key, value)."""

    memory: Tensor


class GLA(Mixer):
    """Linear attention in which every key channel forgets at a rate of its own, a function of the input (Gated Linear
    Attention Transformers with Hardware-Efficient Training, 2023, arXiv 2312.06635).

    q, k, v = W_q x, W_k x, W_v x, and a_t = sigmoid(W_2 W_1 x + b)^(1/16) per key channel, W_1 of rank ``gate_rank``.
    Each head's output is brought to mean 0 and variance 1 (with learned weights), gated by SiLU(W_r x + b_r) and
    projected. ``expand_key`` and ``expand_value``: keys and values of all heads are round(expand * width) wide. Both
    are 1 by default (1/2 and 1 in the paper), so that all matrix memories of this library hold states of one size at
    one width.

    form: "parallel" (quadratic in time), "chunk" (pieces of 16), "recurrent" (the op ``gated_linear_attention``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        expand_key: float = 1.0,
        expand_value: float = 1.0,
        gate_rank: int = 16,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(scaled_width(width, expand_key, "GLA", "expand_key"), heads, "GLA")
        self.value = split_heads(scaled_width(width, expand_value, "GLA", "expand_value"), heads, "GLA")
        if gate_rank < 1:
            raise InputError(f"GLA: gate_rank is {gate_rank}, expected at least 1")
        keys, values = heads * self.key, heads * self.value
        self.qkv = nn.Linear(width, 2 * keys + values, bias=False)
        self.decay = nn.Sequential(nn.Linear(width, gate_rank, bias=False), nn.Linear(gate_rank, keys))
        self.gate = nn.Linear(width, values)
        self.norm = nn.LayerNorm(self.value)
        self.out = nn.Linear(values, width, bias=False)
        for linear in (self.qkv, *self.decay, self.gate, self.out):
            nn.init.xavier_uniform_(linear.weight, gain=2**-2.5)  # as the paper takes over from retention

    def initial_state(self, batch_size: int) -> GLAState:
        """Zeros: nothing was read."""
        return GLAState(self.out.weight.new_zeros(batch_size, self.heads, self.key, self.value))

    def forward(
        self,
        x: Tensor,
        state: GLAState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, GLAState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, k, v, g = self._heads(x, mask)
        o, memory = write_and_read_channels(q, k, v, g, state.memory, reset=reset, form=form)
        return self._close(x, o), GLAState(memory)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): q_t . (a_{j+1} ... a_t k_j) / sqrt(key) for j <= t, else 0, from an empty
        memory.
        """
        self.check_input(x, mask, reset, "auto")
        q, k, _, g = self._heads(x, mask)
        return explicit_channel_attention(q, k, g, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_heads(attention, self._heads(x, mask)[2]))

    def _heads(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q / sqrt(key), k, v and the log decay, (batch, time, heads, key | value); k and decay are 0 at padding."""
        dtype, keys = self.out.weight.dtype, self.heads * self.key
        q, k, v = self.qkv(x).to(dtype).split([keys, keys, self.heads * self.value], -1)
        g = F.logsigmoid(self.decay(x).to(dtype)) / TEMPERATURE
        q, k, v, g = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v, g))
        return q * self.key**-0.5, at_padding(k, mask, 0), v, at_padding(g, mask, 0)

    def _close(self, x: Tensor, o: Tensor) -> Tensor:
        """The norm, gate and projection of what was read, o (batch, time, heads, value)."""
        return self.out(self.norm(o).flatten(-2) * F.silu(self.gate(x)))
