"""LightNet:  S_t = exp(z_{t-1} - z_t) * S_{t-1} + exp(x_t - z_t) v_t^T,  o_t = q_t S_t,  z_t = log sum_{j<=t} e^x_j."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._matrix_memory import read_heads
from seqmem.mixers._shared import at_padding, resume, scan_backend
from seqmem.mixers._softmax import explicit_allowed
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import gated_linear_attention

NOTHING = -1e30  # log of the sum over nothing; finite, so that differences and slopes are


class LightNetState(NamedTuple):
    """memory: (batch, heads, key, key); level: (batch, heads * key), the logarithm of the sum of exp(logits)."""

    memory: Tensor
    level: Tensor


class LightNet(Mixer):
    """Additive linear recurrence, the causal layer of LightNet (You Only Scan Once: Efficient Multi-dimension
    Sequential Modeling with LightNet, 2024, arXiv 2405.21022).

    Row c of S_t is the average of the values so far under the softmax of channel c's logits: nothing decays unless
    something larger comes. q passes SiLU; behind the read-out an RMSNorm, a SiLU gate through ``gate_rank`` channels
    (default a quarter of ``width``), and a projection.

    form: "parallel" is the op ``gated_linear_attention``, "recurrent" a loop of single steps in plain PyTorch; "auto"
    is "parallel", which for one position is the single step.
    """

    def __init__(self, width: int, *, heads: int = 2, gate_rank: int | None = None) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "LightNet")
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        rank = max(1, width // 4) if gate_rank is None else gate_rank
        self.gate = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> LightNetState:
        """Nothing was read: zeros, and a level below every logit."""
        memory = self.out.weight.new_zeros(batch_size, self.heads, self.key, self.key)
        return LightNetState(memory, memory.new_full((batch_size, self.width), NOTHING))

    def forward(
        self,
        x: Tensor,
        state: LightNetState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LightNetState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, logits, v = self._heads(x, mask)
        level = running_logsumexp(logits, state.level, reset)  # (batch, time, width)
        before = torch.cat([state.level[:, None], level[:, :-1]], 1)
        decay = before - level if reset is None else (before - level).masked_fill(reset[..., None], 0)
        k = at_padding((logits - level).exp(), mask, 0)
        k, decay = (part.unflatten(-1, (self.heads, self.key)) for part in (k, decay))
        o, memory = gated_linear_attention(q, k, v, decay, state.memory, reset=reset, backend=scan_backend(form))
        return self._close(x, o), LightNetState(memory, level[:, -1].clone())

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): sum_c q_tc exp(x_jc - z_tc), from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        q, logits, _ = self._heads(at_padding(x, mask, 0), mask)
        level = running_logsumexp(logits, logits.new_full((len(x), self.width), NOTHING), reset)
        allowed, _ = explicit_allowed(x, mask, reset, None)
        difference = logits[:, None] - level[:, :, None]  # (batch, t, j, width)
        share = difference.masked_fill(~allowed[..., None], -torch.inf).exp()
        return torch.einsum("bthk,btjhk->bhtj", q, share.unflatten(-1, (self.heads, self.key)))

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        x = at_padding(x, mask, 0)
        return self._close(x, read_heads(attention, self._heads(x, mask)[2]))

    def _heads(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """q and v (batch, time, heads, key), logits (batch, time, width), which at padding are below every other."""
        q, logits, v = self.qkv(x).to(self.out.weight.dtype).chunk(3, -1)
        q, v = (part.unflatten(-1, (self.heads, self.key)) for part in (F.silu(q), v))
        return q, at_padding(logits, mask, NOTHING), v

    def _close(self, x: Tensor, o: Tensor) -> Tensor:
        return self.out(self.norm(o.flatten(-2)) * F.silu(self.gate(x)))


def running_logsumexp(x: Tensor, start: Tensor, reset: Tensor | None) -> Tensor:
    """z_t = log(exp(start) + sum_{j<=t} exp(x_j)), at a ``reset`` (batch, time) begun anew without ``start``.

    x: (batch, time, channels); start: (batch, channels). By doubling, log2(time) passes; no exponential is taken of
    anything but a difference.
    """
    z = torch.cat([start[:, None], x], 1)
    begins = z.new_zeros(z.shape[:2], dtype=torch.bool)  # a document begins after t - shift, at t at the latest
    if reset is not None:
        begins[:, 1:] = reset
    shift = 1
    while shift < z.shape[1]:
        earlier = F.pad(z[:, :-shift], (0, 0, shift, 0), value=NOTHING)
        z = torch.where(begins[..., None], z, torch.logaddexp(z, earlier))
        begins = begins | F.pad(begins[:, :-shift], (shift, 0), value=True)
        shift *= 2
    return z[:, 1:]
