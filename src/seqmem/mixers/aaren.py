"""Aaren:  o_t = sum_{j<=t} exp(s_j) v_j / sum_{j<=t} exp(s_j),   s_j = q . k_j / sqrt(d),   q learned, one per head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.mixers._matrix_memory import read_heads
from seqmem.mixers._shared import at_padding, resume, scan_backend
from seqmem.mixers._softmax import explicit_allowed, softmax_over
from seqmem.mixers.base import Mixer, split_heads
from seqmem.ops import SoftmaxState, running_softmax


class Aaren(Mixer):
    """Softmax attention with a query that belongs to the layer and not to the token, so that it is a recurrence
    (Attention as an RNN, 2024, arXiv 2405.13956).

    The state is what the softmax of the whole past needs: the largest score, the sum of the weights, and the weighted
    sum of the values. What is asked for cannot depend on the present token: there is no recall by content.

    form: "parallel" is one pass of the op ``running_softmax``, "recurrent" a loop of single steps in plain PyTorch;
    "auto" is "parallel", which for one position is the single step.
    """

    def __init__(self, width: int, *, heads: int = 2) -> None:
        super().__init__(width)
        self.heads = heads
        self.key = split_heads(width, heads, "Aaren")
        self.query = nn.Parameter(torch.randn(heads, self.key))
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> SoftmaxState:
        """Nothing was read: largest score -inf, sums zero."""
        zero = self.query.new_zeros(batch_size, self.heads)
        return SoftmaxState(zero - torch.inf, zero, self.query.new_zeros(batch_size, self.heads, self.key))

    def forward(
        self,
        x: Tensor,
        state: SoftmaxState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, SoftmaxState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        score, v = self._scores(at_padding(x, mask, 0), mask)
        o, last = running_softmax(score, v, state, reset=reset, backend=scan_backend(form))
        return self.out(o.flatten(-2)), last

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the softmax of the scores of each prefix, from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        score, _ = self._scores(at_padding(x, mask, 0), mask)
        allowed, _ = explicit_allowed(x, mask, reset, None)
        rows = score.mT[:, :, None].expand(-1, -1, x.shape[1], -1)  # (batch, heads, t, j): the same for every t
        return softmax_over(rows, allowed)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(read_heads(attention, self._scores(at_padding(x, mask, 0), mask)[1]).flatten(-2))

    def _scores(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """(batch, time, heads), -inf at padding, and the values (batch, time, heads, key)."""
        k, v = self.kv(x).to(self.query.dtype).unflatten(-1, (2, self.heads, self.key)).unbind(2)
        return at_padding((k * self.query).sum(-1) * self.key**-0.5, mask, -torch.inf), v
