"""RWKV-7:  S_t = diag(w_t) S_{t-1} - (a_t kappa_t) (S_{t-1}^T kappa_t)^T + k_t v_t^T,   o_t = S_t^T r_t."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers._channel_memory import explicit_channel_attention, write_and_read_channels
from seqmem.mixers._matrix_memory import FORMS, read_heads
from seqmem.mixers._rwkv import Depth, LowRank, checked_rank, full_ramp, lerp, ramp, token_shift
from seqmem.mixers._shared import at_padding, l2_normalise, resume
from seqmem.mixers.base import Mixer, split_heads

EPS = 64e-5  # of the norm, as in the authors' models


class RWKV7State(NamedTuple):
    """previous: (batch, 1, width), the newest input; memory: (batch, heads, key, key), key = width / heads."""

    previous: Tensor
    memory: Tensor


class _Read(NamedTuple):
    """What one call makes of x; (batch, time, heads, key) but for the gate."""

    r: Tensor
    k: Tensor
    v: Tensor
    w: Tensor  # its logarithm
    removed: Tensor  # kappa, of unit length
    written: Tensor  # a kappa
    gate: Tensor  # (batch, time, width)


class RWKV7(Mixer):
    """The time mixing of RWKV-7: a delta rule whose removal, decay and learning rate are vectors that the input decides
    (RWKV-7 "Goose" with Expressive Dynamic State Evolution, 2025, arXiv 2503.14456).

    Each of r, w, k, v, a and g is read from a mixture x + mu (x_{t-1} - x_t) of its own. lora(x) = base + f(x A) B.
    log w = -e^(-1/2) sigmoid(lora(.)), f = tanh; a = sigmoid(lora(.)), the learning rate in context, f linear;
    g = sigmoid(. A) B.
    kappa = W_k . times xi, brought to unit length per head; k = W_k . (1 + alpha (a - 1)). y = W_o (g (norm(o) +
    (r . (rho k)) v)), normalised per head. What the paper's deeper layers take from the first layer's values is left
    out: a layer sees its own input alone. Ranks: ``decay_rank`` and ``rate_rank``, default width / 8 up to 64,
    ``gate_rank``, default width / 4 up to 128. ``layer`` and ``depth`` say where in the network the layer stands: mu
    and w begin accordingly. W_o begins at zero (the layer then gives zero), A too.

    form: "parallel" (quadratic in time), "chunk" (pieces of 16), "recurrent" (the op ``generalized_delta_rule``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        decay_rank: int | None = None,
        rate_rank: int | None = None,
        gate_rank: int | None = None,
        layer: int = 0,
        depth: int = 1,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "RWKV7")
        at = Depth(layer, depth, "RWKV7")
        decay_rank = checked_rank(decay_rank, min(-(-width // 8), 64), "decay_rank", "RWKV7")
        rate_rank = checked_rank(rate_rank, min(-(-width // 8), 64), "rate_rank", "RWKV7")
        gate_rank = checked_rank(gate_rank, min(-(-width // 4), 128), "gate_rank", "RWKV7")
        powers = torch.tensor([0.2, 0.9, 0.7, 0.7, 0.9, 0.2])[:, None] * at.falling  # of r, w, k, v, a, g
        self.mu = nn.Parameter(1 - ramp(width) ** powers)
        decay = -6.5 + 5 * full_ramp(width) ** (0.85 + at.rising**0.5)
        self.decay = LowRank(width, decay_rank, decay, torch.tanh)
        self.rate = LowRank(width, rate_rank, torch.zeros(width), nn.Identity())
        self.gate = LowRank(width, gate_rank, None, torch.sigmoid)
        self.removal = nn.Parameter(torch.full((width,), 0.85))  # xi
        self.replacement = nn.Parameter(torch.ones(width))  # alpha
        self.bonus = nn.Parameter(torch.zeros(heads, self.key))  # rho
        self.receptance = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.norm = nn.GroupNorm(heads, width, eps=EPS)
        self.out = nn.Linear(width, width, bias=False)
        for linear, bound in ((self.receptance, 0.5), (self.keys, 0.05), (self.value, 0.5)):
            nn.init.uniform_(linear.weight, -bound * width**-0.5, bound * width**-0.5)
        nn.init.zeros_(self.out.weight)
        for low_rank in (self.decay, self.rate, self.gate):
            nn.init.orthogonal_(low_rank.up, gain=0.1)
        nn.init.constant_(self.norm.weight, at.grown**0.7)

    def initial_state(self, batch_size: int) -> RWKV7State:
        """Zeros: nothing was read."""
        previous = self.bonus.new_zeros(batch_size, 1, self.width)
        return RWKV7State(previous, previous.new_zeros(batch_size, self.heads, self.key, self.key))

    def forward(
        self,
        x: Tensor,
        state: RWKV7State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RWKV7State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        p, previous = self._inputs(x, state.previous, mask, reset)
        o, memory = write_and_read_channels(
            p.r, p.k, p.v, p.w, state.memory, a=-p.removed, b=p.written, reset=reset, form=form
        )
        return self._close(o, p), RWKV7State(previous, memory)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the weight of v_j in o_t, from an empty memory; negative where it was removed."""
        self.check_input(x, mask, reset, "auto")
        p, _ = self._inputs(x, None, mask, reset)
        return explicit_channel_attention(p.r, p.k, p.w, reset, a=-p.removed, b=p.written)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        p, _ = self._inputs(x, None, mask, reset)
        return self._close(read_heads(attention, p.v), p)

    def _inputs(
        self, x: Tensor, previous: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[_Read, Tensor]:
        """Everything the recurrence needs; k, log w and a kappa are 0 at padding. And the newest input."""
        x, dtype = at_padding(x, mask, 0), self.out.weight.dtype
        shifted, last = token_shift(
            x, x.new_zeros(len(x), 1, self.width) if previous is None else previous, mask, reset
        )
        xr, xw, xk, xv, xa, xg = (lerp(x, shifted.to(x.dtype), mu) for mu in self.mu)
        w = -math.exp(-0.5) * torch.sigmoid(self.decay(xw).to(dtype))
        k, a = self.keys(xk).to(dtype), torch.sigmoid(self.rate(xa).to(dtype))
        replaced = k * (1 + (a - 1) * self.replacement)
        parts = (self.receptance(xr), replaced, self.value(xv), w, k * self.removal, a)
        r, k, v, w, removed, a = (part.to(dtype).unflatten(-1, (self.heads, self.key)) for part in parts)
        removed = l2_normalise(removed, 1e-12)
        k, w, written = (at_padding(part, mask, 0) for part in (k, w, a * removed))
        return _Read(r, k, v, w, removed, written, self.gate(xg)), last

    def _close(self, o: Tensor, p: _Read) -> Tensor:
        """The norm, bonus, gate and projection of what was read, o (batch, time, heads, value)."""
        normalised = self.norm(o.flatten(-2).flatten(0, 1)).unflatten(0, o.shape[:2])
        present = (p.r * self.bonus * p.k).sum(-1, keepdim=True) * p.v
        return self.out((normalised + present.flatten(-2)) * p.gate)
