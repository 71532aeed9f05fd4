"""GateLoop:  S_t = a_t * S_{t-1} + k_t v_t^T,   y_t = Re(q_t S_t),   a_t = sigmoid(alpha(x_t)) exp(i beta(x_t))."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._complex_state import scan, wide
from seqmem.mixers._matrix_memory import read_heads
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops._decay import decay_matrix


class GateLoopState(NamedTuple):
    """memory: (batch, heads * key * key, 2), real and imaginary parts."""

    memory: Tensor


class GateLoop(Mixer):
    """Linear recurrence whose decay and phase are read off the data (GateLoop: Fully Data-Controlled Linear Recurrence
    for Sequence Modeling, 2023, arXiv 2311.01927).

    ``heads``: default ``width``, heads of size 1 ("max-headed"), the paper's choice for language; fewer heads have a
    key-by-key memory each, whose cost per position grows with the head. ``phase=False`` leaves beta out: a real decay.
    ``data_controlled=False`` makes alpha and beta constants that are learned: the fixed decay of earlier layers. Behind
    the read-out a LayerNorm, a SiLU gate and a projection.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step. :meth:`attention` is the paper's surrogate attention.
    """

    def __init__(
        self, width: int, *, heads: int | None = None, phase: bool = True, data_controlled: bool = True
    ) -> None:
        super().__init__(width)
        self.heads = width if heads is None else heads
        self.key = split_heads(width, self.heads, "GateLoop")
        self.phase = phase
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.decay = nn.Linear(width if data_controlled else 0, (1 + phase) * width)  # alpha, beta
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> GateLoopState:
        """Zeros: nothing was read."""
        return GateLoopState(self.out.weight.new_zeros(batch_size, self.width * self.key, 2))

    def forward(
        self,
        x: Tensor,
        state: GateLoopState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, GateLoopState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, k, v = self._heads(x)
        log_decay = self._log_decay(x)  # (batch, time, heads, key)
        decay = log_decay.exp()[..., None].expand(*log_decay.shape, self.key).flatten(2)
        write = (k[..., None] * v[..., None, :]).flatten(2).to(decay.dtype)  # (batch, time, heads * key * key)
        memory, last = scan(decay, write, state.memory, mask=mask, reset=reset, form=form)
        memory = memory.real.unflatten(2, (self.heads, self.key, self.key))
        y = torch.einsum("bthk,bthkv->bthv", wide(q), memory)
        return self._close(x, y), GateLoopState(last)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): Re sum_c q_tc k_jc (a_{j+1} ... a_t)_c, from an empty memory; no sum runs over
        more than the positions between j and t, so that nothing underflows that is not zero.
        """
        self.check_input(x, mask, reset, "auto")
        x = at_padding(x, mask, 0)
        q, k, _ = self._heads(x)
        log_decay = at_padding(self._log_decay(x), mask, 0)
        if reset is not None:
            log_decay = log_decay.masked_fill(reset[..., None, None], -torch.inf)
        between = decay_matrix(log_decay.permute(0, 2, 3, 1)).real  # (batch, heads, key, t, j)
        return torch.einsum("bthk,bjhk,bhktj->bhtj", wide(q), wide(at_padding(k, mask, 0)), between)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_heads(attention, self._heads(x)[2]))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each (batch, time, heads, key)."""
        return self.qkv(x).to(self.out.weight.dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)

    def _log_decay(self, x: Tensor) -> Tensor:
        """log a_t = log sigmoid(alpha) + i beta, (batch, time, heads, key) complex."""
        gates = wide(self.decay(x[..., : self.decay.in_features]).to(self.out.weight.dtype))
        parts = gates.unflatten(-1, (1 + self.phase, self.heads, self.key)).unbind(2)
        angle = parts[1] if self.phase else torch.zeros_like(parts[0])
        return torch.complex(F.logsigmoid(parts[0]), angle)

    def _close(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(self.norm(y.flatten(-2).to(self.out.weight.dtype)) * F.silu(self.gate(x)))
