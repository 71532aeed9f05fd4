"""A recurrent network with differentiable stacks. arXiv 1503.01007, and arXiv 2207.02098."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, activation, step_by_step
from seqmem.mixers.base import Mixer

PUSH, KEEP, POP = range(3)  # the order of a stack's actions


class StackRNNState(NamedTuple):
    """hidden: (batch, hidden); stack: (batch, stacks, depth, cell), the top first."""

    hidden: Tensor
    stack: Tensor


class StackRNN(Mixer):
    """A simple recurrent network that sees the top of a stack and moves it by degrees (Inferring Algorithmic Patterns
    with Stack-Augmented Recurrent Nets, 2015, arXiv 1503.01007, in the form of Neural Networks and the Chomsky
    Hierarchy, 2022, arXiv 2207.02098):

        h_t = tanh(W x_t + U h_{t-1} + R s_{t-1}[0] + b)        a_t = softmax(A h_t)        v_t = V h_t
        s_t[0] = a_push v_t + a_keep s_{t-1}[0] + a_pop s_{t-1}[1]
        s_t[i] = a_push s_{t-1}[i-1] + a_keep s_{t-1}[i] + a_pop s_{t-1}[i+1]

    ``stacks`` of them, each ``depth`` cells of size ``cell``; what is pushed beyond the depth is lost at the bottom,
    and zeros come up from there. ``hidden``: size of h, default ``width``; then y_t is h_t itself, else y = W_o h.
    ``nonlinearity``: "tanh" or "relu". Weights start as torch's linear maps do.

    form: "recurrent", the only one, a loop over time in PyTorch.
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        hidden: int | None = None,
        stacks: int = 1,
        depth: int = 64,
        cell: int = 8,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(width)
        if min(stacks, depth, cell) < 1:
            raise InputError(f"StackRNN: stacks {stacks}, depth {depth}, cell {cell}; expected at least 1 of each")
        self.hidden = hidden_size(hidden, width, "StackRNN")
        self.stacks, self.depth, self.cell = stacks, depth, cell
        self.activation = activation(nonlinearity, "StackRNN")
        self.inputs = nn.Linear(width, self.hidden)  # W, b
        self.recurrent = nn.Linear(self.hidden + stacks * cell, self.hidden, bias=False)  # U, R
        self.interface = nn.Linear(self.hidden, stacks * (3 + cell))  # A, V
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> StackRNNState:
        """Zeros: empty stacks."""
        zero = self.inputs.weight.new_zeros
        return StackRNNState(zero(batch_size, self.hidden), zero(batch_size, self.stacks, self.depth, self.cell))

    def forward(
        self,
        x: Tensor,
        state: StackRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, StackRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = self.inputs(at_padding(x, mask, 0)).to(self.inputs.weight.dtype)
        h, last = step_by_step(self._step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(h), StackRNNState(*last)

    def _step(self, given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
        (now,), (h, stack) = given, memory
        seen = torch.cat([h, stack[:, :, 0].flatten(1)], 1)
        h = self.activation(torch.addmm(now, seen, self.recurrent.weight.mT))
        interface = self.interface(h).unflatten(1, (self.stacks, 3 + self.cell))
        actions = torch.softmax(interface[..., :3], -1)  # (batch, stacks, 3)
        value = interface[..., 3:]  # (batch, stacks, cell)
        line = torch.cat([value, stack.flatten(2), torch.zeros_like(value)], 2)
        moved = line.unfold(2, self.depth * self.cell, self.cell)  # (batch, stacks, 3, depth * cell): PUSH, KEEP, POP
        return h, (h, torch.matmul(actions[:, :, None], moved).view_as(stack))
