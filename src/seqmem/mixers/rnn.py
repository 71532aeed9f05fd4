"""The simple recurrent network. Finding Structure in Time (1990), Cognitive Science 14."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import Hidden, Weights, hidden_size, run_documents
from seqmem.mixers._packing import check_state, one_at_a_time
from seqmem.mixers._shared import at_padding
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer

NONLINEARITIES = ("tanh", "relu", "linear")


class RNNState(NamedTuple):
    hidden: Tensor  # (batch, hidden)


class RNN(Mixer):
    """h_t = f(W x_t + b + U h_{t-1} + c), with f tanh or relu; "linear": without f.

    The weights are those of ``nn.RNN`` (attribute ``rnn``). hidden: size of h, default ``width``; then y_t is h_t
    itself, else y = W_o h.

    Form "auto" is "parallel", for any time: torch's sequence kernel (its cell for a single position). "recurrent": the
    cell, position by position. There is no kernel for "linear":
    a loop in PyTorch. Under autocast all run in the dtype of the weights.
    """

    def __init__(
        self, width: int, *, hidden: int | None = None, nonlinearity: Literal["tanh", "relu", "linear"] = "tanh"
    ) -> None:
        super().__init__(width)
        if nonlinearity not in NONLINEARITIES:
            raise InputError(f"RNN: nonlinearity is {nonlinearity!r}, expected 'tanh', 'relu' or 'linear'")
        self.hidden = hidden_size(hidden, width, "RNN")
        self.linear = nonlinearity == "linear"
        torch_s = "tanh" if self.linear else nonlinearity  # which it is then not asked for: it holds the weights
        self.rnn = nn.RNN(width, self.hidden, nonlinearity=torch_s, batch_first=True)
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> RNNState:
        """Zeros."""
        return RNNState(self.rnn.all_weights[0][1].new_zeros(batch_size, self.hidden))

    def forward(
        self,
        x: Tensor,
        state: RNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, "RNN")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        if self.linear:
            return self._without_f(x, state or self.initial_state(x.shape[0]), mask, reset)
        cell = _relu if self.rnn.nonlinearity == "relu" else _tanh
        h, last = run_documents(self.rnn, cell, x, state or self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), RNNState(*last)

    def _without_f(
        self, x: Tensor, state: RNNState, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, RNNState]:
        w, u, b, c = self.rnn.all_weights[0]
        given = F.linear(at_padding(x, mask, 0), w, b).to(u.dtype) + c

        def step(given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
            h = torch.addmm(given[0], memory[0], u.mT)
            return h, (h,)

        h, last = step_by_step(step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), RNNState(*last)


def _tanh(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return (torch.rnn_tanh_cell(x, state[0], *weights),)


def _relu(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return (torch.rnn_relu_cell(x, state[0], *weights),)
