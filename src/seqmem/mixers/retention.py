"""Retention:  S_t = gamma_h S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t,   q and k turned by their positions."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._decoding import decodes, linear, rotary_frequencies, run_kernel
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._rotary import rotary_tables, rotate
from seqmem.mixers._shared import at_padding, count_positions, resume, scaled_width
from seqmem.mixers.base import Mixer, split_heads

EPS = 1e-6  # of the norm


class RetentionState(NamedTuple):
    """memory: (batch, heads, key, value); position: (batch,) int64, how much of the document was read."""

    memory: Tensor
    position: Tensor


class Retention(Mixer):
    """Multi-scale retention (Retentive Network: A Successor to Transformer for Large Language Models, 2023, arXiv
    2307.08621).

    Head h = 0, 1, ... forgets at the fixed rate gamma_h = 1 - 2^(-5-h). Keys are scaled by 1 / sqrt(key). Each head's
    output is normalised to mean 0 and variance 1 (the paper's group norm, no weights), gated by SiLU(W_g x) and
    projected; no biases. ``value_expansion``: a head's values are round(value_expansion * key) wide. It is 1 by default
    (2 in the paper), so that all matrix memories of this library hold states of one size at one width. ``rope_base``
    sets the angles. Positions count the document's words, without padding.

    form: "parallel" (the whole matrix, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op ``ssd``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS
    forgetting: Tensor

    def __init__(
        self, width: int, *, heads: int = 2, value_expansion: float = 1.0, rope_base: float = 10_000.0
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "Retention")
        if self.key % 2:
            raise InputError(
                f"Retention: heads have size {self.key}, expected an even size; change width {width} or heads {heads}"
            )
        self.value = scaled_width(self.key, value_expansion, "Retention", "value_expansion")
        self.rope_base = rope_base
        values = heads * self.value
        self.qkv = nn.Linear(width, 2 * width + values, bias=False)
        self.gate = nn.Linear(width, values, bias=False)
        self.out = nn.Linear(values, width, bias=False)
        # 1 - gamma_h, a power of two: exact in every dtype, where gamma itself is not
        self.register_buffer("forgetting", torch.exp2(-torch.arange(5.0, 5 + heads)), persistent=False)

    def initial_state(self, batch_size: int) -> RetentionState:
        """Zeros: nothing was read."""
        memory = self.out.weight.new_zeros(batch_size, self.heads, self.key, self.value)
        return RetentionState(memory, memory.new_zeros(batch_size, dtype=torch.long))

    def forward(
        self,
        x: Tensor,
        state: RetentionState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RetentionState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        if decodes(self, x, state, mask, reset, form):
            return self.step(x, state)  # type: ignore[arg-type]
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        position, end = count_positions(state.position, x.shape[1], mask, reset)
        q, k, v = self._heads(x, position, mask)
        o, memory = write_and_read(q, k, v, self._log_decay(q, mask), None, state.memory, reset=reset, form=form)
        return self._close(x, o), RetentionState(memory, end)

    def step(self, x: Tensor, state: RetentionState) -> tuple[Tensor, RetentionState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now, (memory, position) = x[:, 0], state
        o, new, end = (
            now.new_empty((len(now), self.out.in_features)),
            torch.empty_like(memory),
            torch.empty_like(position),
        )
        turning = rotary_frequencies(self.key, self.rope_base)
        qkv, gate = linear(self.qkv, now), linear(self.gate, now)
        arrays = qkv, gate, self.forgetting, turning, position, memory, o, new, end
        run_kernel("make_retention_step", arrays, *memory.shape, EPS)
        return linear(self.out, o)[:, None], RetentionState(new, end)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): q_t . k_j gamma^(t - j) / sqrt(key) for j <= t, else 0, from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        position, _ = count_positions(self.initial_state(x.shape[0]).position, x.shape[1], mask, reset)
        q, k, _ = self._heads(x, position, mask)
        return explicit_attention(q, k, self._log_decay(q, mask), None, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_heads(attention, self._split(x)[2]))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q and k before they are turned, (batch, time, heads, key), and v (batch, time, heads, value)."""
        q, k, v = self.qkv(x).to(self.out.weight.dtype).split([self.width, self.width, self.heads * self.value], -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        return q, k, v

    def _heads(self, x: Tensor, position: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q and k turned by ``position`` (batch, time), k scaled, 0 at padding; v."""
        q, k, v = self._split(x)
        tables = rotary_tables(position[..., None], self.key, self.rope_base, q)  # (batch, time, 1, key) each
        return rotate(q, tables), at_padding(rotate(k, tables) * self.key**-0.5, mask, 0), v

    def _log_decay(self, q: Tensor, mask: Tensor | None) -> Tensor:
        """log gamma_h (batch, time, heads), 0 at padding."""
        return at_padding(torch.log1p(-self.forgetting.to(q.dtype)).expand(q.shape[:3]), mask, 0)

    def _close(self, x: Tensor, o: Tensor) -> Tensor:
        """The norm, gate and projection of what was read, o (batch, time, heads, value)."""
        normalised = F.layer_norm(o, o.shape[-1:], eps=EPS)
        return self.out(normalised.flatten(-2) * F.silu(self.gate(x)))
