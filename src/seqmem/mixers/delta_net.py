"""DeltaNet:  S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T,   o_t = S_t^T q_t / sqrt(key)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._decoding import decodes, linear, rms_epsilon, run_kernel
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import ShortConv, at_padding, l2_normalise, resume
from seqmem.mixers.base import Mixer, split_heads


class DeltaNetState(NamedTuple):
    """memory: (batch, heads, key, value); conv: (batch, conv - 1, 3 * width), the latest inputs of the convolution."""

    memory: Tensor
    conv: Tensor


class DeltaNet(Mixer):
    """Fast weights corrected by the delta rule: what the memory holds under a key is replaced, not added to
    (Parallelizing Linear Transformers with the Delta Rule over Sequence Length, 2024, arXiv 2406.06484).

    q, k and v pass a causal convolution over ``conv`` positions and SiLU; q and k are brought to unit length. beta_t =
    sigmoid(w x_t), doubled with ``allow_negative_eigenvalues``, so that a step may turn a direction of the memory round
    (Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024, arXiv 2411.12537). The output of each
    head is RMS-normalised and projected.

    form: "parallel" (one triangular system, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op
    ``delta_rule``, position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else
    "chunk".
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(self, width: int, *, heads: int = 2, conv: int = 4, allow_negative_eigenvalues: bool = False) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "DeltaNet")
        self.beta_max = 2.0 if allow_negative_eigenvalues else 1.0
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.conv = ShortConv(3 * width, conv, bias=False, owner="DeltaNet")
        self.beta = nn.Linear(width, heads, bias=False)
        self.norm = nn.RMSNorm(self.key, eps=1e-6)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> DeltaNetState:
        """Zeros: nothing was read."""
        memory = self.out.weight.new_zeros(batch_size, self.heads, self.key, self.key)
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
        o, memory = write_and_read(q, k, v, None, self._rate(x, mask), state.memory, reset=reset, form=form)
        return self.out(self.norm(o).flatten(-2)), DeltaNetState(memory, conv)

    def step(self, x: Tensor, state: DeltaNetState) -> tuple[Tensor, DeltaNetState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now = x[:, 0]
        qkv, beta = linear(self.qkv, now), linear(self.beta, now)
        o, state = delta_step(qkv, beta, None, None, None, self.conv, self.norm, self.beta_max, state)
        return linear(self.out, o)[:, None], state

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the weight of value j in o_t, from an empty memory; negative where a key was
        overwritten.
        """
        self.check_input(x, mask, reset, "auto")
        q, k, _, _ = self._heads(x, None, mask, reset)
        return explicit_attention(q, k, None, self._rate(x, mask), reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        value = self._heads(x, None, mask, reset)[2]
        return self.out(self.norm(read_heads(attention, value)).flatten(-2))

    def _heads(
        self, x: Tensor, conv: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, scaled by 1 / sqrt(key), k and v, each (batch, time, heads, key), and the state of the convolution."""
        qkv, conv = self.conv(self.qkv(x), conv, mask, reset)
        q, k, v = F.silu(qkv).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        return l2_normalise(q) * self.key**-0.5, l2_normalise(k), v, conv

    def _rate(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """beta (batch, time, heads), 0 at padding."""
        beta = torch.sigmoid(self.beta(x).to(self.out.weight.dtype)) * self.beta_max
        return at_padding(beta, mask, 0)


def delta_step(
    qkv: Tensor,
    rates: Tensor,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    gate: Tensor | None,
    conv: ShortConv,
    norm: nn.RMSNorm,
    beta_max: float,
    state: DeltaNetState,
) -> tuple[Tensor, DeltaNetState]:
    """What (gated) DeltaNet does with one token between its projections.

    qkv: (batch, heads (2 key + value)); rates: (batch, heads), with A_log twice as many, the step behind beta; gate:
    (batch, heads value). Returns what is to be projected, (batch, heads value), and the new state.
    """
    memory, past = state
    batch, heads, key, value = memory.shape
    o, new, new_past = qkv.new_empty((batch, heads * value)), torch.empty_like(memory), torch.empty_like(past)
    arrays = qkv, rates, gate, conv.weight, norm.weight, A_log, dt_bias, memory, past, o, new, new_past
    run_kernel("make_delta_step", arrays, batch, heads, key, value, past.shape[1] + 1, beta_max, rms_epsilon(norm))
    return o, DeltaNetState(new, new_past)
