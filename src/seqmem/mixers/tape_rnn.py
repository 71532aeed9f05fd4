"""A recurrent network that writes on a tape. Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, activation, step_by_step
from seqmem.mixers.base import Mixer


class TapeRNNState(NamedTuple):
    """hidden: (batch, hidden); tape: (batch, length, cell), the cell under the head first."""

    hidden: Tensor
    tape: Tensor


class TapeRNN(Mixer):
    """A simple recurrent network that sees the cell under the head of a tape, writes it, and moves by degrees (Neural
    Networks and the Chomsky Hierarchy, 2022, arXiv 2207.02098):

        h_t = tanh(W x_t + U h_{t-1} + R m_{t-1}[0] + b)        a_t = softmax(A h_t)        v_t = MLP(h_t)
        m_t = sum_k a_k roll_k(v_t, m_{t-1}[1], m_{t-1}[2], ...)

    with three moves: stay, one cell to either side; and two more, ``jump`` cells to either side, unless ``jump`` is 0.
    The tape is a ring of ``length`` cells of size ``cell``. ``write_layers``: hidden layers of the MLP, the authors'
    two of 64. ``hidden``: size of h, default ``width``; then y_t is h_t itself, else y = W_o h. ``nonlinearity``:
    "tanh" or "relu". Weights start as torch's linear maps do.

    The paper jumps by the length of the input, which a layer that reads one position after the other cannot know; here
    the jump is a number that is given.

    form: "recurrent", the only one, a loop over time in PyTorch.
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        hidden: int | None = None,
        length: int = 64,
        cell: int = 8,
        jump: int = 0,
        write_layers: Sequence[int] = (64, 64),
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(width)
        if min(length, cell) < 1 or not 0 <= jump < length:
            raise InputError(
                f"TapeRNN: length {length}, cell {cell}, jump {jump}; expected at least 1, 1, and 0 <= jump < length"
            )
        self.hidden = hidden_size(hidden, width, "TapeRNN")
        self.length, self.cell = length, cell
        self.activation = activation(nonlinearity, "TapeRNN")
        moves = torch.tensor([0, 1, -1, jump, -jump][: 5 if jump else 3])
        self.register_buffer(
            "moves", (torch.arange(length) + moves[:, None]).remainder(length).flatten(), persistent=False
        )  # (moves * length,): which cell comes to stand where
        self.moves: Tensor
        self.inputs = nn.Linear(width, self.hidden)  # W, b
        self.recurrent = nn.Linear(self.hidden + cell, self.hidden, bias=False)  # U, R
        self.actions = nn.Linear(self.hidden, len(moves))  # A
        sizes = [self.hidden, *write_layers, cell]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.write = nn.Sequential(*layers[:-1])
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> TapeRNNState:
        """Zeros: an empty tape."""
        zero = self.inputs.weight.new_zeros
        return TapeRNNState(zero(batch_size, self.hidden), zero(batch_size, self.length, self.cell))

    def forward(
        self,
        x: Tensor,
        state: TapeRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, TapeRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = self.inputs(at_padding(x, mask, 0)).to(self.inputs.weight.dtype)
        h, last = step_by_step(self._step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), TapeRNNState(*last)

    def _step(self, given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
        (now,), (h, tape) = given, memory
        h = self.activation(torch.addmm(now, torch.cat([h, tape[:, 0]], 1), self.recurrent.weight.mT))
        moves = torch.softmax(self.actions(h), -1)  # (batch, moves)
        written = torch.cat([self.write(h)[:, None], tape[:, 1:]], 1)
        moved = written.index_select(1, self.moves).view(h.shape[0], moves.shape[1], -1)
        return h, (h, torch.bmm(moves[:, None], moved).view_as(tape))
