"""minLSTM:  h_t = f'_t h_{t-1} + i'_t g(W_h x_t),   f' = f / (f + i),   i' = i / (f + i)   with sigmoid gates f, i."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers._shared import (
    at_padding,
    diagonal_attention,
    positive,
    read_diagonal,
    resume,
    scaled_width,
    scan_backend,
)
from seqmem.mixers.base import Mixer
from seqmem.ops import linear_scan


class MinLSTMState(NamedTuple):
    """hidden: (batch, hidden)."""

    hidden: Tensor


class MinLSTM(Mixer):
    """An LSTM whose gates see the input alone and sum to one, so that the whole sequence is one scan (Were RNNs All We
    Needed?, 2024, arXiv 2410.01201).

    Options, empty memory and forms as in :class:`seqmem.mixers.min_gru.MinGRU`. The quotients are one sigmoid of d =
    softplus(-W_f x) - softplus(-W_i x) = log i - log f:  i' = sigmoid(d), f' = sigmoid(-d).
    """

    def __init__(self, width: int, *, expansion: float = 1.0, bias: bool = True) -> None:
        super().__init__(width)
        self.hidden = scaled_width(width, expansion, "MinLSTM", "expansion")
        self.candidate_and_gates = nn.Linear(width, 3 * self.hidden, bias=bias)
        self.out = nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> MinLSTMState:
        """Zeros: nothing was read."""
        return MinLSTMState(self.out.weight.new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: MinLSTMState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, MinLSTMState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        log_keep, write, candidate = self._gates(x, mask)
        hidden, last = linear_scan(
            log_keep, write * candidate, state.hidden, reset=reset, log=True, backend=scan_backend(form)
        )  # (batch, time, hidden)
        return self.out(hidden), MinLSTMState(last)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, hidden, time, time): the weight of candidate j in h_t, from an empty memory; one head per hidden
        unit.
        """
        self.check_input(x, mask, reset, "auto")
        log_keep, write, _ = self._gates(x, mask)
        return diagonal_attention(log_keep, write, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(read_diagonal(attention, self._gates(x, mask)[2]))

    def _gates(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """log f', i' and the candidate, each (batch, time, hidden); at padding i' = 0."""
        candidate, forget, write = self.candidate_and_gates(x).to(self.out.weight.dtype).chunk(3, -1)
        balance = at_padding(F.softplus(-forget) - F.softplus(-write), mask, -torch.inf)
        return F.logsigmoid(-balance), torch.sigmoid(balance), positive(candidate)
