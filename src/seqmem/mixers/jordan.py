"""The Jordan network, which remembers its own output. Serial Order (1986), ICS Report 8604, UC San Diego."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqmem.mixers._documents import hidden_size
from seqmem.mixers._elman import run_elman
from seqmem.mixers._packing import one_at_a_time
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer


class JordanState(NamedTuple):
    """hidden: (batch, hidden); what is fed back is V times it."""

    hidden: Tensor


class Jordan(Mixer):
    """A simple recurrent network whose output, not its hidden layer, is fed back (Serial Order: A Parallel Distributed
    Processing Approach, 1986, ICS Report 8604):

        h_t = tanh(W x_t + U y_{t-1} + b)        y_t = V h_t

    The output is linear, as usual today (Jordan's was a sigmoid), so that all the network can know of the past goes
    through ``width`` numbers: it is a simple recurrent network with the recurrent matrix U V, and runs as one.
    ``hidden``: size of h, default ``width``. Weights start uniform within 1 / sqrt(hidden), as in torch's RNN.

    Form "auto" is "parallel", for any time: torch's sequence kernel (its cell for a single position). "recurrent": the
    cell, position by position. Under autocast both run in the dtype of the weights.
    """

    def __init__(self, width: int, *, hidden: int | None = None) -> None:
        super().__init__(width)
        self.hidden = hidden_size(hidden, width, "Jordan")
        self.inputs = nn.Linear(width, self.hidden)  # W, b
        self.feedback = nn.Linear(width, self.hidden, bias=False)  # U
        self.out = nn.Linear(self.hidden, width, bias=False)  # V
        for weight in self.parameters():
            nn.init.uniform_(weight, -(self.hidden**-0.5), self.hidden**-0.5)

    def initial_state(self, batch_size: int) -> JordanState:
        """Zeros: nothing was answered."""
        return JordanState(self.out.weight.new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: JordanState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, JordanState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        with torch.autocast(x.device.type, enabled=False):
            recurrent = self.feedback.weight @ self.out.weight  # U V: (hidden, hidden)
        weights = (self.inputs.weight, recurrent, self.inputs.bias, torch.zeros_like(self.inputs.bias))
        x = at_padding(x, mask, 0)
        h, last = run_elman(x, state.hidden, weights, training=self.training, mask=mask, reset=reset)
        return self.out(h), JordanState(last)
