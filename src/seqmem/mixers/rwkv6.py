"""RWKV-6:  S_t = diag(w_t) S_{t-1} + k_t v_t^T,   o_t = (S_{t-1} + diag(u) k_t v_t^T)^T r_t,   w_t a function of x."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._channel_memory import explicit_channel_attention, write_and_read_channels
from seqmem.mixers._matrix_memory import FORMS, read_heads
from seqmem.mixers._rwkv import Depth, LowRank, checked_rank, full_ramp, lerp, ramp, token_shift, zigzag
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads

EPS = 64e-5  # of the norm, as in the authors' models


class RWKV6State(NamedTuple):
    """previous: (batch, 1, width), the newest input; memory: (batch, heads, key, key), key = width / heads."""

    previous: Tensor
    memory: Tensor


class RWKV6(Mixer):
    """The time mixing of RWKV-6: a matrix that decays per channel, at a rate that the input decides (Eagle and Finch:
    RWKV with Matrix-Valued States and Dynamic Recurrence, 2024, arXiv 2404.05892).

    lora(x) = base + tanh(x A) B. With d = x_{t-1} - x_t, each of w, k, v, r and g is read from its own mixture
    x + d lora(x + d mu_x); w_t = exp(-exp(lora(.))), g = SiLU(W_g .), r, k, v = W . ; u is the bonus of the present
    position. y = W_o (norm(o) g), normalised per head. Ranks of the mixtures and the decay: ``mix_rank``, default
    width / 16 up to 32, ``decay_rank``, default twice that. ``layer`` and ``depth`` say where in the network the layer
    stands: mu, decay and bonus begin accordingly, W_o at zero (the layer then gives zero), the other W orthogonal, and
    A = 0, so that at first no mixture depends on x. (The channel mixing that goes with it is
    :class:`seqmem.mixers.rwkv_channel_mix.RWKVChannelMix`.)

    form: "parallel" (quadratic in time), "chunk" (pieces of 16), "recurrent" (the op ``gated_linear_attention`` with
    its bonus, position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        mix_rank: int | None = None,
        decay_rank: int | None = None,
        layer: int = 0,
        depth: int = 1,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "RWKV6")
        at = Depth(layer, depth, "RWKV6")
        mix_rank = checked_rank(mix_rank, min(-(-width // 16), 32), "mix_rank", "RWKV6")
        decay_rank = checked_rank(decay_rank, min(-(-width // 8), 64), "decay_rank", "RWKV6")
        earlier, latest = ramp(width) ** at.falling, ramp(width) ** (0.5 * at.falling)
        self.mix_x = nn.Parameter(1 - earlier)
        shares = (1 - earlier, 1 - earlier, 1 - earlier - 0.3 * at.rising, 1 - latest, 1 - latest)  # of w, k, v, r, g
        self.mix = nn.ModuleList(LowRank(width, mix_rank, share, torch.tanh) for share in shares)
        decay = -6 + 5 * full_ramp(width) ** (0.7 + 1.3 * at.rising)
        self.decay = LowRank(width, decay_rank, decay, torch.tanh)
        bonus = at.rising * (1 - full_ramp(width)) + 0.1 * zigzag(width)
        self.bonus = nn.Parameter(bonus.unflatten(0, (heads, self.key)))
        self.receptance = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False)
        self.norm = nn.GroupNorm(heads, width, eps=EPS)
        self.out = nn.Linear(width, width, bias=False)
        for linear, gain in ((self.receptance, 1.0), (self.keys, 0.1), (self.value, 1.0), (self.gate, 0.1)):
            nn.init.orthogonal_(linear.weight, gain=gain)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.norm.weight, at.grown**0.7)

    def initial_state(self, batch_size: int) -> RWKV6State:
        """Zeros: nothing was read."""
        previous = self.bonus.new_zeros(batch_size, 1, self.width)
        return RWKV6State(previous, previous.new_zeros(batch_size, self.heads, self.key, self.key))

    def forward(
        self,
        x: Tensor,
        state: RWKV6State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RWKV6State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        r, k, v, w, gate, previous = self._inputs(x, state.previous, mask, reset)
        o, memory = write_and_read_channels(r, k, v, w, state.memory, bonus=self.bonus, reset=reset, form=form)
        return self._close(o, gate), RWKV6State(previous, memory)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): r_t . (w_{j+1} ... w_{t-1} k_j) for j < t, r_t . (u k_t) for j = t, from an empty
        memory.
        """
        self.check_input(x, mask, reset, "auto")
        r, k, _, w, _, _ = self._inputs(x, None, mask, reset)
        return explicit_channel_attention(r, k, w, reset, bonus=self.bonus)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        _, _, v, _, gate, _ = self._inputs(x, None, mask, reset)
        return self._close(read_heads(attention, v), gate)

    def _inputs(
        self, x: Tensor, previous: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """r, k, v and log w (batch, time, heads, key), k and log w 0 at padding; g (batch, time, width); the newest
        input.
        """
        x, dtype = at_padding(x, mask, 0), self.out.weight.dtype
        shifted, last = token_shift(
            x, x.new_zeros(len(x), 1, self.width) if previous is None else previous, mask, reset
        )
        shifted = shifted.to(x.dtype)
        base = lerp(x, shifted, self.mix_x)
        xw, xk, xv, xr, xg = (lerp(x, shifted, share(base)) for share in self.mix)
        w = -self.decay(xw).to(dtype).exp()
        parts = (self.receptance(xr), self.keys(xk), self.value(xv), w)
        r, k, v, w = (part.to(dtype).unflatten(-1, (self.heads, self.key)) for part in parts)
        return r, at_padding(k, mask, 0), v, at_padding(w, mask, 0), F.silu(self.gate(xg)), last

    def _close(self, o: Tensor, gate: Tensor) -> Tensor:
        """The norm, gate and projection of what was read, o (batch, time, heads, value)."""
        normalised = self.norm(o.flatten(-2).flatten(0, 1)).unflatten(0, o.shape[:2])
        return self.out(normalised * gate)
