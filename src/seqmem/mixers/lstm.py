"""Long short-term memory.

Long Short-Term Memory (1997), Neural Computation 9; its forget gate: Learning to Forget (2000), Neural Computation 12.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers._documents import Hidden, Weights, hidden_size, run_documents
from seqmem.mixers._packing import check_state, one_at_a_time
from seqmem.mixers.base import Mixer


class LSTMState(NamedTuple):
    hidden: Tensor  # (batch, hidden)
    cell: Tensor  # (batch, hidden)


class LSTM(Mixer):
    """c_t = f * c_{t-1} + i * g and h_t = o * tanh(c_t).

    i, f, o are the sigmoid and g the tanh of W x_t + b + U h_{t-1} + c, each with weights of its own.

    The weights are those of ``nn.LSTM`` (attribute ``lstm``). hidden: size of h and c, default ``width``; then y_t is
    h_t itself, else y = W_o h. forget_bias: where the forget gate's bias starts (torch's two biases together), so that
    a new layer keeps before it learns to forget; everything else starts as in torch.

    Form "auto" is "parallel", for any time: torch's sequence kernel (its cell for a single position). "recurrent": the
    cell, position by position. Under autocast both run in
    the dtype of the weights.
    """

    def __init__(self, width: int, *, hidden: int | None = None, forget_bias: float = 1.0) -> None:
        super().__init__(width)
        self.hidden = hidden_size(hidden, width, "LSTM")
        self.lstm = nn.LSTM(width, self.hidden, batch_first=True)
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)
        forget = slice(self.hidden, 2 * self.hidden)  # torch's order of the gates: i, f, g, o
        _, _, bias, other = self.lstm.all_weights[0]
        with torch.no_grad():
            bias[forget] = forget_bias
            other[forget] = 0.0

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros."""
        weight = self.lstm.all_weights[0][1]
        return LSTMState(weight.new_zeros(batch_size, self.hidden), weight.new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: LSTMState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LSTMState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, "LSTM")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        h, last = run_documents(self.lstm, _cell, x, state or self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), LSTMState(*last)


def _cell(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return torch.lstm_cell(x, state, *weights)
