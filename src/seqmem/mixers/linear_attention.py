"""Linear attention:  S_t = S_{t-1} + f(k_t) [v_t, 1]^T,   [n_t, d_t] = S_t^T f(q_t),   y_t = n_t / d_t."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import at_padding, elu_plus_one, resume
from seqmem.mixers.base import Mixer, split_heads

EPS = 1e-6  # beside the denominator: a padding position before the first word has read nothing


class LinearAttentionState(NamedTuple):
    """memory: (batch, heads, key, key + 1), the sum of outer products of keys and values; its last column is the sum of
    the keys.
    """

    memory: Tensor


class LinearAttention(Mixer):
    """Attention with the kernel f(q) . f(k), f(x) = elu(x) + 1, in place of the exponential (Transformers are RNNs,
    2020, arXiv 2006.16236).

    It has no positions and no decay: order is seen through causality alone. Projections without bias.

    form: "parallel" (the whole matrix, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op ``ssd``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(self, width: int, *, heads: int = 2) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "LinearAttention")
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> LinearAttentionState:
        """Zeros: nothing was read."""
        return LinearAttentionState(self.out.weight.new_zeros(batch_size, self.heads, self.key, self.key + 1))

    def forward(
        self,
        x: Tensor,
        state: LinearAttentionState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LinearAttentionState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        q, k, v = self._heads(x, mask)
        v = F.pad(v, (0, 1), value=1.0)  # a column of ones sums the weights
        o, memory = write_and_read(q, k, v, None, None, state.memory, reset=reset, form=form)
        o = o[..., :-1] / (o[..., -1:] + EPS)
        return self.out(o.flatten(-2)), LinearAttentionState(memory)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): f(q_t) . f(k_j), each row divided by its sum, from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        q, k, _ = self._heads(x, mask)
        weights = explicit_attention(q, k, None, None, reset)
        return weights / (weights.sum(-1, keepdim=True) + EPS)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(read_heads(attention, self._heads(x, mask)[2]).flatten(-2))

    def _heads(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """f(q), f(k), v, each (batch, time, heads, key); at padding f(k) = 0."""
        q, k, v = self.qkv(x).to(self.out.weight.dtype).unflatten(-1, (3, self.heads, self.key)).unbind(2)
        return elu_plus_one(q), at_padding(elu_plus_one(k), mask, 0), v
