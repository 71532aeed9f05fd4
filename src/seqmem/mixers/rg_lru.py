"""RG-LRU:  h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t u_t),   a_t = a^(c r_t),   r_t, i_t = sigmoid(linear(u_t))."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._decoding import decodes, linear, run_kernel
from seqmem.mixers._shared import (
    ShortConv,
    at_padding,
    count_positions,
    diagonal_attention,
    read_diagonal,
    resume,
    scan_backend,
)
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import linear_scan

SHARPNESS = 8.0  # the paper's c


class RGLRUState(NamedTuple):
    """hidden: (batch, lru_width); conv: (batch, conv - 1, lru_width); position: (batch,) int64, how much of the
    document was read.
    """

    hidden: Tensor
    conv: Tensor
    position: Tensor


class RGLRU(Mixer):
    """Griffin's recurrent block (Griffin: Mixing Gated Linear Recurrences with Local Attention, 2024, arXiv
    2402.19427).

    Branch A: linear, causal convolution over ``conv`` positions, RG-LRU. Branch B: linear, GELU (tanh form). Their
    product is projected back. ``lru_width``: of both branches, default ``width``. ``heads``: blocks of the two gate
    matrices. a = sigmoid(decay_logit), with a^8 uniform in [0.9, 0.999] at the start.

    At a document's first position the factor sqrt(1 - a^2) is 1: nothing was there to make room for. An empty memory is
    the beginning of a document, whether it is written None or ``initial_state``; the state counts what was read to
    know.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step.
    """

    convolves: ClassVar[bool] = True

    def __init__(self, width: int, *, lru_width: int | None = None, heads: int = 4, conv: int = 4) -> None:
        super().__init__(width)
        self.lru_width = width if lru_width is None else lru_width
        self.heads = heads
        block = split_heads(self.lru_width, heads, "RGLRU")
        self.in_recurrent = nn.Linear(width, self.lru_width)
        self.in_gate = nn.Linear(width, self.lru_width)
        self.conv = ShortConv(self.lru_width, conv, bias=True, owner="RGLRU")
        self.gate_weight = nn.Parameter(
            torch.randn(heads, block, 2 * block) * block**-0.5
        )  # columns: recurrence, input
        self.gate_bias = nn.Parameter(torch.zeros(heads, 2 * block))
        power = torch.empty(self.lru_width).uniform_(0.9, 0.999)  # a^c
        self.decay_logit = nn.Parameter(-torch.log(torch.expm1(-power.log() / SHARPNESS)))
        self.out = nn.Linear(self.lru_width, width)
        for module in (self.in_recurrent, self.in_gate, self.out):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)

    def initial_state(self, batch_size: int) -> RGLRUState:
        """Zeros: nothing was read."""
        hidden = self.out.weight.new_zeros(batch_size, self.lru_width)
        return RGLRUState(hidden, self.conv.empty(batch_size), hidden.new_zeros(batch_size, dtype=torch.long))

    def forward(
        self,
        x: Tensor,
        state: RGLRUState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RGLRUState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        if decodes(self, x, state, mask, reset, form):
            return self.step(x, state)  # type: ignore[arg-type]
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        u, conv = self.conv(self.in_recurrent(x), state.conv, mask, reset)  # (batch, time, lru_width)
        position, end = count_positions(state.position, x.shape[1], mask, reset)
        log_keep, write = self._gates(u, position, mask)
        hidden, last = linear_scan(log_keep, write * u, state.hidden, reset=reset, log=True, backend=scan_backend(form))
        return self._close(x, hidden), RGLRUState(last, conv, end)

    def step(self, x: Tensor, state: RGLRUState) -> tuple[Tensor, RGLRUState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now, (hidden, past, position) = x[:, 0], state
        y, new, end, new_past = (torch.empty_like(part) for part in (hidden, hidden, position, past))
        recurrent, gate, conv = linear(self.in_recurrent, now), linear(self.in_gate, now), self.conv
        weights = conv.weight, conv.bias, self.gate_weight, self.gate_bias, self.decay_logit
        arrays = recurrent, gate, *weights, hidden, past, position, y, new, new_past, end
        sizes = len(now), self.heads, self.lru_width // self.heads, past.shape[1] + 1
        run_kernel("make_rg_lru_step", arrays, *sizes, SHARPNESS, torch.finfo(now.dtype).tiny)
        return linear(self.out, y)[:, None], RGLRUState(new, new_past, end)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, lru_width, time, time): the weight of the convolved input j in h_t, from an empty memory; one head
        per channel.
        """
        self.check_input(x, mask, reset, "auto")
        u = self._values(x, mask, reset)
        position, _ = count_positions(u.new_zeros(x.shape[0], dtype=torch.long), x.shape[1], mask, reset)
        return diagonal_attention(*self._gates(u, position, mask), reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_diagonal(attention, self._values(x, mask, reset)))

    def _values(self, x: Tensor, mask: Tensor | None, reset: Tensor | None) -> Tensor:
        return self.conv(self.in_recurrent(x), None, mask, reset)[0]

    def _gates(self, u: Tensor, position: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """log a_t and the factor of u_t, both (batch, time, lru_width); at padding log a = 0 and the factor is 0."""
        blocks = u.unflatten(-1, (self.heads, -1))  # (batch, time, heads, block)
        gates = torch.einsum("bthi,hio->btho", blocks, self.gate_weight) + self.gate_bias
        recurrence, write = torch.sigmoid(gates.to(u.dtype)).chunk(2, -1)  # r, i
        log_keep = -SHARPNESS * F.softplus(-self.decay_logit) * recurrence.flatten(-2)
        # 1 - a^2; kept off 0, where the square root has no slope
        room = -torch.expm1(2 * log_keep)
        room = room.clamp_min(torch.finfo(room.dtype).tiny).sqrt().masked_fill((position == 0)[..., None], 1)
        return at_padding(log_keep, mask, 0), at_padding(room * write.flatten(-2), mask, 0)

    def _close(self, x: Tensor, hidden: Tensor) -> Tensor:
        return self.out(hidden * F.gelu(self.in_gate(x), approximate="tanh"))
