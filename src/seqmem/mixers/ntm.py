"""The neural Turing machine: a controller with a memory matrix and heads that move. arXiv 1410.5401."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer

EMPTY = 0.01  # what stands in a new memory: the same everywhere, so that no row is like a key more than another

EPS = 1e-8  # keeps the cosine finite where a key or a row is zero


class NTMState(NamedTuple):
    """answer: (batch, hidden + heads * cell), the controller's h and what was read; cell: (batch, hidden), the
    controller's; memory: (batch, slots, cell); weights: (batch, heads + 1, slots), where the read heads and, last, the
    write head stand.
    """

    answer: Tensor
    cell: Tensor
    memory: Tensor
    weights: Tensor


class NTM(Mixer):
    """An LSTM that reads and writes a memory matrix through heads that look for a content or step to a neighbour
    (Neural Turing Machines, 2014, arXiv 1410.5401):

        w = softmax_i(beta K(k, M(i)))        K: cosine similarity; content
        w = g w + (1 - g) w_{t-1}             interpolation with where the head was
        w(i) = sum_j w(j) s(i - j)            shift by -1, 0 or 1, around the ring of rows
        w(i) = w(i)^gamma / sum_j w(j)^gamma  sharpening
        M(i) = M(i) (1 - w(i) e) + w(i) a     writing; r = sum_i w(i) M(i), reading

    The controller, an LSTM of size ``hidden`` (default ``width``), sees x_t and what was read before; from its output
    come, for each head, the key k, beta = softplus, gamma = 1 + softplus, the sigmoid gate g, the softmax s, and for
    the write head erase e = sigmoid and a. There are ``slots`` rows of size ``cell``, ``heads`` read heads and a write
    head. All heads find their place in the memory as it was; then is written, then read. y_t = W_y h_t + W_r r. All
    heads begin at row 0 of a uniform memory, the controller's weights as torch's LSTM.

    form: "recurrent", the only one, a loop over time in PyTorch.
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self, width: int, *, hidden: int | None = None, slots: int = 32, cell: int = 16, heads: int = 1
    ) -> None:
        super().__init__(width)
        if min(slots, cell, heads) < 1:
            raise InputError(f"NTM: slots {slots}, cell {cell}, heads {heads}; expected at least 1 of each")
        self.hidden = hidden_size(hidden, width, "NTM")
        self.slots, self.cell, self.heads = slots, cell, heads
        self.inputs = nn.Linear(width, 4 * self.hidden)  # i, f, o, g
        self.recurrent = nn.Parameter(torch.empty(self.hidden + heads * cell, 4 * self.hidden))
        every = heads + 1
        self.parts = (every * cell, cell, 3 * every, every + cell, 2 * every)  # k, a; s; g and e; beta and gamma
        self.interface = nn.Linear(self.hidden, sum(self.parts))
        self.out = nn.Linear(self.hidden + heads * cell, width)
        for weight in (*self.inputs.parameters(), self.recurrent):
            nn.init.uniform_(weight, -(self.hidden**-0.5), self.hidden**-0.5)
        from_where = torch.arange(slots)[:, None] - torch.tensor([-1, 0, 1])  # row i - j for the shifts j
        self.register_buffer("neighbours", from_where.remainder(slots).flatten(), persistent=False)
        self.neighbours: Tensor

    def initial_state(self, batch_size: int) -> NTMState:
        """A uniform memory, every head at row 0, the controller at zero."""
        zero = self.out.weight.new_zeros
        weights = zero(batch_size, self.heads + 1, self.slots)
        weights[..., 0] = 1
        return NTMState(
            zero(batch_size, self.hidden + self.heads * self.cell),
            zero(batch_size, self.hidden),
            zero(batch_size, self.slots, self.cell) + EMPTY,
            weights,
        )

    def forward(
        self,
        x: Tensor,
        state: NTMState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, NTMState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = self.inputs(at_padding(x, mask, 0)).to(self.out.weight.dtype)
        answers, last = step_by_step(self._step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(answers), NTMState(*last)

    def _step(self, given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
        answer, c, m, weights = memory
        gates, candidate = torch.addmm(given[0], answer, self.recurrent).split((3 * self.hidden, self.hidden), 1)
        i, f, o = torch.sigmoid(gates).chunk(3, 1)
        c = f * c + i * torch.tanh(candidate)
        h = o * torch.tanh(c)
        asked = F.linear(h, self.interface.weight, self.interface.bias)
        keys, add, shifts, squashed, strengths = asked.split(self.parts, 1)
        gate, erase = torch.sigmoid(squashed)[:, None].split((self.heads + 1, self.cell), 2)
        weights = self._address(m, weights, keys, gate.mT, shifts, strengths)
        reading, writing = weights.split((self.heads, 1), 1)
        m = m + writing.mT * (add[:, None] - erase * m)
        answer = torch.cat([h, torch.bmm(reading, m).flatten(1)], 1)
        return answer, (answer, c, m, weights)

    def _address(
        self, memory: Tensor, weights: Tensor, keys: Tensor, gate: Tensor, shifts: Tensor, strengths: Tensor
    ) -> Tensor:
        """Where the heads go from ``weights`` (batch, heads + 1, slots), in which shape it returns."""
        every = self.heads + 1
        keys = keys.view(-1, every, self.cell)
        beta, gamma = F.softplus(strengths).view(-1, 2, every, 1).unbind(1)
        lengths = torch.bmm(_length(keys), _length(memory).mT)  # (batch, heads + 1, slots), the products of lengths
        alike = torch.bmm(keys, memory.mT) / (lengths + EPS)
        weights = torch.lerp(weights, torch.softmax(beta * alike, 2), gate)
        around = weights.index_select(2, self.neighbours).view(-1, every, self.slots, 3)
        weights = torch.matmul(around, torch.softmax(shifts.view(-1, every, 3), 2)[..., None])[..., 0]
        tiny = torch.finfo(weights.dtype).tiny
        power = weights.clamp_min(tiny).log()
        return torch.softmax(power + gamma * power, 2)  # w^(1 + gamma), made to sum to one


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=2, keepdim=True)
