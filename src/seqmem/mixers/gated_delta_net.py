"""Gated DeltaNet:  S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T,   o_t = S_t^T q_t / sqrt(key)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._decoding import decodes, linear
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import (
    ShortConv,
    at_padding,
    inverse_softplus_of_log_uniform,
    l2_normalise,
    resume,
    scaled_width,
)
from seqmem.mixers.base import Mixer, split_heads
from seqmem.mixers.delta_net import DeltaNetState, delta_step


class GatedDeltaNet(Mixer):
    """The delta rule with a decay that depends on the data (Gated Delta Networks: Improving Mamba2 with Delta Rule,
    2024, arXiv 2412.06464).

    As :class:`seqmem.mixers.delta_net.DeltaNet`, and: log a_t = -exp(A_log) softplus(w_a x_t + dt_bias) per head, and
    an output gate: y = W_o (RMSNorm(o) SiLU(W_z x)). At the start exp(A_log) is uniform in [1, 16] and
    softplus(dt_bias) log-uniform between 0.001 and 0.1.

    ``key``: the size of a head's keys, default width / heads. ``norm_eps``: of the RMSNorm. ``expand_value``: a head's
    values are round(expand_value * key) wide. It is 1 by default (2 in the paper), so that
    all matrix memories of this library hold states of one size at one width.
    State: :class:`seqmem.mixers.delta_net.DeltaNetState`.

    form: "parallel" (one triangular system, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op
    ``delta_rule``, position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else
    "chunk".
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        key: int | None = None,
        expand_value: float = 1.0,
        conv: int = 4,
        allow_negative_eigenvalues: bool = False,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "GatedDeltaNet") if key is None else key
        if self.key < 1:
            raise InputError(f"GatedDeltaNet: key is {key}, expected at least 1")
        self.value = scaled_width(self.key, expand_value, "GatedDeltaNet", "expand_value")
        self.beta_max = 2.0 if allow_negative_eigenvalues else 1.0
        keys, values = heads * self.key, heads * self.value
        self.qkv = nn.Linear(width, 2 * keys + values, bias=False)
        self.conv = ShortConv(2 * keys + values, conv, bias=False, owner="GatedDeltaNet")
        self.beta_and_step = nn.Linear(width, 2 * heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(inverse_softplus_of_log_uniform(heads, 1e-3, 1e-1))
        self.gate = nn.Linear(width, values, bias=False)
        self.norm = nn.RMSNorm(self.value, eps=norm_eps)
        self.out = nn.Linear(values, width, bias=False)

    def initial_state(self, batch_size: int) -> DeltaNetState:
        """Zeros: nothing was read."""
        memory = self.out.weight.new_zeros(batch_size, self.heads, self.key, self.value)
        return DeltaNetState(memory, self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: DeltaNetState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, DeltaNetState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        if decodes(self, x, state, mask, reset, form):
            return self.step(x, state)  # type: ignore[arg-type]
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, k, v, conv = self._heads(x, state.conv, mask, reset)
        o, memory = write_and_read(q, k, v, *self._rates(x, mask), state.memory, reset=reset, form=form)
        return self._close(x, o), DeltaNetState(memory, conv)

    def step(self, x: Tensor, state: DeltaNetState) -> tuple[Tensor, DeltaNetState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now = x[:, 0]
        qkv, rates, gate = linear(self.qkv, now), linear(self.beta_and_step, now), linear(self.gate, now)
        o, state = delta_step(qkv, rates, self.A_log, self.dt_bias, gate, self.conv, self.norm, self.beta_max, state)
        return linear(self.out, o)[:, None], state

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the weight of value j in o_t, from an empty memory; negative where a key was
        overwritten.
        """
        self.check_input(x, mask, reset, "auto")
        q, k, _, _ = self._heads(x, None, mask, reset)
        return explicit_attention(q, k, *self._rates(x, mask), reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_heads(attention, self._heads(x, None, mask, reset)[2]))

    def _heads(
        self, x: Tensor, conv: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, scaled by 1 / sqrt(key), and k (batch, time, heads, key), v (batch, time, heads, value), the state of the
        convolution.
        """
        qkv, conv = self.conv(self.qkv(x), conv, mask, reset)
        keys = self.heads * self.key
        q, k, v = F.silu(qkv).split([keys, keys, self.heads * self.value], -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        return l2_normalise(q) * self.key**-0.5, l2_normalise(k), v, conv

    def _rates(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The log decay and beta, both (batch, time, heads) and 0 at padding."""
        beta, step = self.beta_and_step(x).to(self.out.weight.dtype).chunk(2, -1)
        g = -self.A_log.exp() * F.softplus(step + self.dt_bias)
        return at_padding(g, mask, 0), at_padding(torch.sigmoid(beta) * self.beta_max, mask, 0)

    def _close(self, x: Tensor, o: Tensor) -> Tensor:
        """The output gate and projection of what was read, o (batch, time, heads, value)."""
        return self.out(self.norm(o).flatten(-2) * F.silu(self.gate(x)))
