"""TTT-Linear:  W_t = W_{t-1} - eta_t grad |f(k_t; W) - v_t|^2 / 2,   y_t = f(q_t; W_t),   f(x; W) = x + LN(x W + b)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import MemoryState, memory_update


class TTTLinearState(NamedTuple):
    """weights: (batch, heads, key + 1, key), W and in its last row b; anchor: the same at the beginning of the present
    mini-batch; position: (batch,) int64, tokens of it that were read.
    """

    weights: Tensor
    anchor: Tensor
    position: Tensor


class TTTLinear(Mixer):
    """A linear model that is trained by gradient descent on what is read, as hidden state (Learning to (Learn at Test
    Time): RNNs with Expressive Hidden States, 2024, arXiv 2407.04620).

    q, k, v = theta_Q x, theta_K x, theta_V x per head. The gradients of ``mini_batch`` tokens are taken at the weights
    before it. eta_t = ``rate`` sigmoid(theta_lr x + b_lr) / key. The beginnings of W and b, and gain and bias of the
    norm inside f, are learned by ordinary training; W begins normal with deviation 0.02, b at zero. y = W_o LN(.) of
    what all heads give. (Convolution, rotary positions and output gate of the paper's networks belong to what stands
    around the layer.)

    form: "chunk", matrix products mini-batch by mini-batch; there is no other: a single position is the same code.
    """

    forms: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(self, width: int, *, heads: int = 2, mini_batch: int = 16, rate: float = 1.0) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "TTTLinear")
        if mini_batch < 1:
            raise InputError(f"TTTLinear: mini_batch is {mini_batch}, expected at least 1")
        if not rate > 0:
            raise InputError(f"TTTLinear: rate is {rate!r}, expected a number above 0")
        self.mini_batch, self.rate = mini_batch, rate
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.learning_rate = nn.Linear(width, heads)
        self.weights = nn.Parameter(
            torch.cat([0.02 * torch.randn(heads, self.key, self.key), torch.zeros(heads, 1, self.key)], 1)
        )
        self.gain = nn.Parameter(torch.ones(heads, self.key))
        self.bias = nn.Parameter(torch.zeros(heads, self.key))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.learning_rate.bias)

    def initial_state(self, batch_size: int) -> TTTLinearState:
        """The learned beginning."""
        weights = self.weights.expand(batch_size, *self.weights.shape)
        return TTTLinearState(weights, weights, weights.new_zeros(batch_size, dtype=torch.long))

    def forward(
        self,
        x: Tensor,
        state: TTTLinearState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, TTTLinearState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x, dtype = at_padding(x, mask, 0), self.out.weight.dtype
        q, k, v = self.qkv(x).to(dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        eta = self.rate * torch.sigmoid(self.learning_rate(x).to(dtype)) / self.key
        still = (torch.zeros_like(state.weights),)  # no momentum
        memory = MemoryState((state.weights,), still, (state.anchor,), state.position)
        # a column of ones beside q and k multiplies b; f - v is LN(k W + b) - (v - k)
        one = (0, 1)
        y, memory = memory_update(
            F.pad(q, one, value=1.0), F.pad(k, one, value=1.0), v - k, eta, (self.weights,), memory,
            norm=(self.gain, self.bias), chunk=self.mini_batch, mask=mask, reset=reset,
        )  # fmt: skip
        y = self.out(self.norm((q + y).flatten(-2)))
        return y, TTTLinearState(memory.weights[0], memory.anchor[0], memory.position)
