"""The sLSTM: an LSTM with exponential gates and heads. xLSTM: Extended Long Short-Term Memory (2024), 2405.04517."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._shared import ShortConv, at_padding, resume, scan_backend
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import slstm
from seqmem.ops.slstm import SLSTMState as Memory


class SLSTMState(NamedTuple):
    """hidden, cell, normaliser, maximum: (batch, heads, head), the latter three scaled by exp(maximum); conv: (batch,
    conv - 1, width). Nothing read: zeros, and -inf for maximum.
    """

    hidden: Tensor
    cell: Tensor
    normaliser: Tensor
    maximum: Tensor
    conv: Tensor


class SLSTM(Mixer):
    """The sLSTM layer of xLSTM (xLSTM: Extended Long Short-Term Memory, 2024, arXiv 2405.04517).

        c_t = f_t c_{t-1} + i_t z_t        n_t = f_t n_{t-1} + i_t        h_t = o_t c_t / n_t
        z_t = tanh(z~)     i_t = exp(i~)     f_t = sigmoid(f~) or exp(f~)     o_t = sigmoid(o~)

    each ~ being W x_t + R h_{t-1} + b with weights of its own, block-diagonal over ``heads``. z and o see x; i and f
    see silu of a causal convolution over ``conv`` positions (1: the present one alone). y is h, normalised within each
    head (group norm with a scale per channel). ``forget``: "sigmoid" (the default) or "exponential".

    At the start R and b are 0, but for the forget gate, whose biases fall from 5 to -7 over a head, so that its units
    keep for many different times; W is N(0, 2 / (5 width)).

    form: "parallel", for any time, is the kernel of :func:`seqmem.ops.slstm`, "recurrent" the loop in plain PyTorch;
    "auto" is "parallel".
    """

    convolves: ClassVar[bool] = True

    def __init__(
        self, width: int, *, heads: int = 4, conv: int = 4, forget: Literal["sigmoid", "exponential"] = "sigmoid"
    ) -> None:
        super().__init__(width)
        head = split_heads(width, heads, "SLSTM")
        self.heads, self.forget = heads, forget
        self.conv = ShortConv(width, conv, bias=True, owner="SLSTM")
        spread = (2 / (5 * width)) ** 0.5
        self.from_x = nn.Parameter(torch.randn(heads, 2, head, head) * spread)  # z, o: (heads, gate, to, from)
        self.from_conv = nn.Parameter(torch.randn(heads, 2, head, head) * spread)  # i, f
        self.recurrent = nn.Parameter(torch.zeros(heads, 4 * head, head))  # z, i, f, o
        self.bias = nn.Parameter(torch.zeros(heads, 4, head))
        self.scale = nn.Parameter(torch.ones(width))
        with torch.no_grad():
            self.bias[:, 2] = 5 - 12 * torch.linspace(0, 1, head) ** 0.3

    def initial_state(self, batch_size: int) -> SLSTMState:
        """Nothing was read: zeros, a maximum of -inf."""
        zero = self.bias.new_zeros(batch_size, self.heads, self.width // self.heads)
        return SLSTMState(zero, zero, zero, zero - torch.inf, self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: SLSTMState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, SLSTMState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        smooth, conv = self.conv(x, state.conv, mask, reset)
        z, o = self._by_head(x, self.from_x).unbind(3)  # (batch, time, heads, head)
        i, f = self._by_head(F.silu(smooth), self.from_conv).unbind(3)
        gates = torch.stack([z, i, f, o], 3) + self.bias  # (batch, time, heads, 4, head)
        h, last = slstm(
            gates.to(self.bias.dtype),
            self.recurrent,
            Memory(*state[:4]),
            forget=self.forget,
            mask=mask,
            reset=reset,
            backend=scan_backend(form),
        )
        flat = h.reshape(-1, self.width)  # (batch * time, width)
        y = F.group_norm(flat, self.heads, self.scale).view(x.shape[0], x.shape[1], self.width)
        return y, SLSTMState(*last, conv)

    def _by_head(self, x: Tensor, weight: Tensor) -> Tensor:
        """x (batch, time, width) -> (batch, time, heads, 2, head)."""
        return torch.einsum("bthk,hgjk->bthgj", x.unflatten(-1, (self.heads, -1)).to(weight.dtype), weight)
