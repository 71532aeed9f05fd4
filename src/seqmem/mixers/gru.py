"""The gated recurrent unit. Learning Phrase Representations using RNN Encoder-Decoder (2014), arXiv 1406.1078."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers._documents import Hidden, Weights, hidden_size, run_documents
from seqmem.mixers._packing import check_state, one_at_a_time
from seqmem.mixers.base import Mixer


class GRUState(NamedTuple):
    hidden: Tensor  # (batch, hidden)


class GRU(Mixer):
    """h_t = z * h_{t-1} + (1 - z) * tanh(W_n x_t + b_n + r * (U_n h_{t-1} + c_n)).

    The gates r and z are sigmoid(W x_t + b + U h_{t-1} + c), each with weights of its own.

    The weights are those of ``nn.GRU`` (attribute ``gru``; the paper gates h before U_n, torch after it). hidden: size
    of h, default ``width``; then y_t is h_t itself, else y = W_o h.

    Form "auto" is "parallel", for any time: torch's sequence kernel (its cell for a single position). "recurrent": the
    cell, position by position. Under autocast both run in
    the dtype of the weights.
    """

    def __init__(self, width: int, *, hidden: int | None = None) -> None:
        super().__init__(width)
        self.hidden = hidden_size(hidden, width, "GRU")
        self.gru = nn.GRU(width, self.hidden, batch_first=True)
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros."""
        return GRUState(self.gru.all_weights[0][1].new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: GRUState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, GRUState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, "GRU")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        h, last = run_documents(self.gru, _cell, x, state or self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), GRUState(*last)


def _cell(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return (torch.gru_cell(x, state[0], *weights),)
