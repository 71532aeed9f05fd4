"""Titans' memory:  S_t = eta_t S_{t-1} - theta_t grad l_t(M),   M_t = (1 - alpha_t) M_{t-1} + S_t,   y_t = M_t(q_t)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._neural_memory import NeuralMemory
from seqmem.mixers._shared import ShortConv, at_padding, l2_normalise, resume
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import MemoryState


class TitansState(NamedTuple):
    """memory: the weights of M, the surprise S, the weights at the beginning of the present chunk, and how much of it
    was read; conv: (batch, conv - 1, 3 * width), the latest inputs of the convolution.
    """

    memory: MemoryState
    conv: Tensor


class Titans(Mixer):
    """The neural long-term memory of Titans: a small network that learns, while it reads, to map keys to values
    (Titans: Learning to Memorize at Test Time, 2024, arXiv 2501.00663).

    q, k, v = W x, each behind a causal convolution over ``conv`` positions and SiLU; q and k of unit length per head.
    l_t(M) = |M(k_t) - v_t|^2 / 2; the surprise S is its gradient with momentum eta, taken in steps of theta, and alpha
    is how much is forgotten: all three are sigmoid(w x + b) per head and token, beginning near 1/2, 1/20 and 1/50.
    ``memory_layers`` 1: M(x) = x W; 2: M(x) = x + SiLU(x W1) W2, hidden width round(expand * key). The gradients of
    ``chunk`` tokens are taken at the weights before them: 1 is the sequential rule, more is another, cheaper model. The
    beginning of M is learned by ordinary training. y = W_o (RMSNorm(M_t(q_t)) SiLU(W_g x)). ``momentum``, ``forget``:
    False leaves out eta, alpha, which are then 0.
    The blocks that put attention beside it: :mod:`seqmem.mixers.titans_mac`, :mod:`seqmem.mixers.titans_mag`,
    :mod:`seqmem.mixers.titans_mal`.

    form: "chunk", matrix products chunk by chunk; there is no other: a single position is the same code.
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        memory_layers: int = 2,
        expand: float = 1.0,
        chunk: int = 16,
        conv: int = 4,
        momentum: bool = True,
        forget: bool = True,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "Titans")
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.conv = ShortConv(3 * width, conv, bias=False, owner="Titans")
        self.learner = NeuralMemory(
            width, heads, memory_layers, expand, chunk, "Titans", momentum=momentum, forget=forget
        )
        self.gate = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(self.key, eps=1e-6)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> TitansState:
        """The learned beginning of M, and nothing read."""
        return TitansState(self.learner.initial_state(batch_size), self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: TitansState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, TitansState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        qkv, conv = self.conv(self.qkv(x), state.conv, mask, reset)
        q, k, v = F.silu(qkv).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        y, memory = self.learner.update(x, l2_normalise(q), l2_normalise(k), v, state.memory, mask, reset)
        return self.out(self.norm(y.to(self.out.weight.dtype)).flatten(-2) * F.silu(self.gate(x))), TitansState(
            memory, conv
        )
