"""mLSTM:  C_t = f_t C_{t-1} + i_t k_t v_t^T,  n_t = f_t n_{t-1} + i_t k_t,  h_t = o_t C_t^T q_t / max(|n_t.q_t|, 1)."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads


class MLSTMState(NamedTuple):
    """memory: (batch, heads, key, key + 1), C and in its last column n, both over exp(maximum); maximum: (batch,
    heads), the paper's m, -inf when nothing was read.
    """

    memory: Tensor
    maximum: Tensor


class MLSTM(Mixer):
    """The LSTM with a matrix as cell and exponential gates (xLSTM: Extended Long Short-Term Memory, 2024, arXiv
    2405.04517).

    q, k, v = W x, k scaled by 1 / sqrt(key); per head i_t = exp(i~_t), f_t = sigmoid(f~_t), both linear in x; o_t =
    sigmoid(W_o x). Everything is stored over exp(m_t), m_t = max(log f_t + m_{t-1}, i~_t), so that no gate overflows.
    Each head's output is brought to mean 0 and variance 1 (learned weights) before the output gate, and projected: the
    layer as in the 7-billion model (xLSTM 7B, 2025, arXiv 2503.13427), without the convolution and the up-projection of
    the first paper's block. ``gate_cap``: i~ and f~ pass cap * tanh(. / cap); None leaves them. ``norm_eps``: of the
    norm of each head. At the start both gates ignore x; the bias of f~ rises from 3 to 6 over the heads, that of i~ is
    normal with deviation 0.1.

    form: "parallel" (the whole matrix, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op ``ssd``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(self, width: int, *, heads: int = 2, gate_cap: float | None = 15.0, norm_eps: float = 1e-6) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "MLSTM")
        if gate_cap is not None and not gate_cap > 0:
            raise InputError(f"MLSTM: gate_cap is {gate_cap!r}, expected None or a number above 0")
        self.gate_cap, self.norm_eps = gate_cap, norm_eps
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gates = nn.Linear(width, 2 * heads)  # i~, then f~
        self.out_gate = nn.Linear(width, width, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.gates.weight.zero_()
            self.gates.bias[:heads].normal_(std=0.1)
            self.gates.bias[heads:] = torch.linspace(3.0, 6.0, heads)

    def initial_state(self, batch_size: int) -> MLSTMState:
        """Nothing was read: C = n = 0, m = -inf."""
        memory = self.out.weight.new_zeros(batch_size, self.heads, self.key, self.key + 1)
        return MLSTMState(memory, memory.new_full((batch_size, self.heads), -torch.inf))

    def forward(
        self,
        x: Tensor,
        state: MLSTMState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, MLSTMState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, k, v = self._heads(x)
        write, g, m = self._stabilised(x, state.maximum, mask, reset)
        v = F.pad(v, (0, 1), value=1.0)  # a column of ones sums the keys
        o, memory = write_and_read(q, write[..., None] * k, v, g, None, state.memory, reset=reset, form=form)
        y = o[..., :-1] / _floor(o[..., -1], m)[..., None]
        return self._close(x, y), MLSTMState(memory, m[:, -1])

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): q_t . k_j i_j f_{j+1} ... f_t over max(|its sum over j|, 1), from an empty
        memory.
        """
        self.check_input(x, mask, reset, "auto")
        q, k, _ = self._heads(x)
        write, g, m = self._stabilised(x, self.initial_state(x.shape[0]).maximum, mask, reset)
        weights = explicit_attention(q, write[..., None] * k, g, None, reset)
        return weights / _floor(weights.sum(-1), m.mT)[..., None]

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_heads(attention, self._heads(x)[2]))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k / sqrt(key) and v, each (batch, time, heads, key)."""
        q, k, v = self.qkv(x).to(self.out.weight.dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        return q, k * self.key**-0.5, v

    def _stabilised(
        self, x: Tensor, maximum: Tensor, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """i_t / exp(m_t), log(f_t exp(m_{t-1} - m_t)) and m_t, each (batch, time, heads); at padding i = 0, f = 1."""
        gates = self.gates(x).to(maximum.dtype)
        if self.gate_cap is not None:
            gates = self.gate_cap * torch.tanh(gates / self.gate_cap)
        i, f = gates.chunk(2, -1)
        i, f = at_padding(i, mask, -torch.inf), at_padding(F.logsigmoid(f), mask, 0)
        m = decaying_maximum(f, i, maximum, reset)
        before = torch.cat([maximum[:, None], m[:, :-1]], 1)
        unread = m == -torch.inf
        some = m.masked_fill(unread, 0)  # nothing was read: any number will do
        return (i - some).exp(), (f + before - some).masked_fill(unread, 0), m

    def _close(self, x: Tensor, h: Tensor) -> Tensor:
        """The norm, output gate and projection of what was read, h (batch, time, heads, key)."""
        normalised = F.layer_norm(h, (self.key,), eps=self.norm_eps).flatten(-2) * self.norm_weight
        return self.out(torch.sigmoid(self.out_gate(x)) * normalised)


def _floor(n: Tensor, m: Tensor) -> Tensor:
    """max(|n|, exp(-m)): in what is stored over exp(m), the paper's max(|n|, 1). Where that is so large that what is
    read vanishes beside it (and where m = -inf: nothing was read), any number as large will do.
    """
    most = math.log(torch.finfo(m.dtype).max) / 2
    return torch.maximum(n.abs(), (-m).clamp_max(most).exp())


def decaying_maximum(f: Tensor, i: Tensor, m0: Tensor, reset: Tensor | None) -> Tensor:
    """m_t = max(f_t + m_{t-1}, i_t), from m0 (batch, heads); f, i: (batch, time, heads), f <= 0, i = -inf at nothing.

    In log2(time) doublings: after each, m_t has seen twice as many positions, and f_t is the sum over them.
    """
    if reset is not None:
        f = f.masked_fill(reset[..., None], -torch.inf)
    m = torch.cat([torch.maximum(i[:, :1], f[:, :1] + m0[:, None]), i[:, 1:]], 1)
    step, time = 1, f.shape[1]
    while step < time:
        m = torch.cat([m[:, :step], torch.maximum(m[:, step:], f[:, step:] + m[:, :-step])], 1)
        f = torch.cat([f[:, :step], f[:, step:] + f[:, :-step]], 1)
        step *= 2
    return m
