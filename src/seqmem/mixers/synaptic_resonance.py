"""Synaptic resonance, a reading: R_t = l R_{t-1} + n r_t k_t v_t^T, r_t = s(cos(q_t, c_t)), y = attention + b R^T q."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, write_and_read
from seqmem.mixers._shared import at_padding, l2_normalise, resume
from seqmem.mixers._softmax import AttentionState
from seqmem.mixers.base import Mixer, split_heads
from seqmem.mixers.local_attention import LocalAttention
from seqmem.ops import linear_scan

RELEVANCE = ("content", "constant")
SLOWEST, FASTEST = 0.99, 0.9  # decays at the beginning
CONTEXT = 0.9  # of the running context


class SynapticResonanceState(NamedTuple):
    """attention: of the windowed attention; memory: R, (batch, heads, key, value); context: c, (batch, heads * key)."""

    attention: AttentionState
    memory: Tensor
    context: Tensor


class SynapticResonance(Mixer):
    """Windowed attention with a plastic matrix beside it that is written to more strongly where a token resonates with
    its context (Exploring Synaptic Resonance in Large Language Models: A Novel Approach to Contextual Memory
    Integration, 2025, arXiv 2502.10699).

    The paper leaves its equations open: this is one reading of it, not its implementation. q, k, v are those of
    :class:`seqmem.mixers.local_attention.LocalAttention` before their positions, brought to unit length; c_t = 0.9
    c_{t-1} + k_t is the running context, r_t = sigmoid(sharpness * cos(q_t, c_t)) the relevance. The decay l =
    sigmoid(.) per head begins between 0.9 and 0.99, the strength b = softplus(.) near 0.5. Homeostasis: n = (1 - l)
    ``bound`` sigmoid(.), so that no R ever has a norm above ``bound``. What R gives passes the attention's output
    projection. ``relevance="constant"``: r_t = 1/2 for all, a decayed linear attention; ``plastic=False``: the
    attention alone.

    form: of the matrix, "parallel", "chunk" or "recurrent" (the op ``ssd``); "auto" is "recurrent" for one position,
    on a CPU and where fla runs, else "chunk". The attention always chooses its own.
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        window: int = 32,
        relevance: str = "content",
        plastic: bool = True,
        bound: float = 8.0,
    ) -> None:
        super().__init__(width)
        if relevance not in RELEVANCE:
            raise InputError(f"SynapticResonance: relevance is {relevance!r}, expected 'content' or 'constant'")
        if not bound > 0:
            raise InputError(f"SynapticResonance: bound is {bound!r}, expected a number above 0")
        self.heads, self.relevance, self.plastic, self.bound = heads, relevance, plastic, bound
        self.key = split_heads(width, heads, "SynapticResonance")
        self.local = LocalAttention(width, heads=heads, window=window)
        decays = torch.linspace(FASTEST, SLOWEST, heads)
        self.decay = nn.Parameter(decays.logit(), requires_grad=plastic)
        self.rate = nn.Parameter(torch.zeros(heads), requires_grad=plastic)
        self.strength = nn.Parameter(torch.full((heads,), -0.43), requires_grad=plastic)  # softplus: 0.5
        self.sharpness = nn.Parameter(torch.full((heads,), 4.0), requires_grad=plastic and relevance == "content")

    def initial_state(self, batch_size: int) -> SynapticResonanceState:
        """Nothing read."""
        memory = self.decay.new_zeros(batch_size, self.heads, self.key, self.key)
        return SynapticResonanceState(
            self.local.initial_state(batch_size), memory, memory.new_zeros(batch_size, self.width)
        )

    def forward(
        self,
        x: Tensor,
        state: SynapticResonanceState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, SynapticResonanceState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        y, attended = self.local(x, state.attention, mask=mask, reset=reset)
        if not self.plastic:
            return y, state._replace(attention=attended)
        q, k, v, g, context = self._heads(x, state.context, mask, reset)
        o, memory = write_and_read(q, k, l2_normalise(v), g, None, state.memory, reset=reset, form=form)
        return y + self.local.out(o.flatten(-2)), SynapticResonanceState(attended, memory, context)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the softmax weights and, added to them, what R gives of every value."""
        weights = self.local.attention(x, mask=mask, reset=reset)
        if not self.plastic:
            return weights
        x = at_padding(x, mask, 0)
        q, k, v, g, _ = self._heads(x, None, mask, reset)
        length = torch.rsqrt(v.square().sum(-1) + 1e-6)  # what makes v of unit length, (batch, time, heads)
        return weights + explicit_attention(q, k, g, None, reset) * length.mT[:, :, None]

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.local.read(at_padding(x, mask, 0), attention)

    def _heads(
        self, x: Tensor, context: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """b q, n r k, v (batch, time, heads, key), the log decay (batch, time, heads), k and decay 0 at padding; c."""
        dtype = self.decay.dtype
        q, k, v = self.local.qkv(x).to(dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        q, k = l2_normalise(q), at_padding(l2_normalise(k), mask, 0)
        keep = at_padding(k.new_full(x.shape, CONTEXT), mask, 1)
        c, context = linear_scan(keep, k.flatten(-2), context, reset=reset)
        relevance = torch.full_like(q[..., 0], 0.5)
        if self.relevance == "content":
            alike = (q * l2_normalise(c.unflatten(-1, (self.heads, self.key)))).sum(-1)
            relevance = torch.sigmoid(self.sharpness * alike)
        rate = torch.sigmoid(-self.decay) * self.bound * torch.sigmoid(self.rate)  # (1 - l) bound s(.)
        g = at_padding(F.logsigmoid(self.decay).expand(q.shape[:3]), mask, 0)
        return F.softplus(self.strength)[:, None] * q, (rate * relevance)[..., None] * k, v, g, context
