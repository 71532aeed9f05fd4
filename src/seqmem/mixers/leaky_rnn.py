"""Leaky neurons, each with a time constant that is trained. arXiv 2309.12927."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer


class LeakyRNNState(NamedTuple):
    """hidden: (batch, hidden), the activity r."""

    hidden: Tensor


class LeakyRNN(Mixer):
    """Neurons that leak, coupled to each other but not to themselves (Emergent mechanisms for long timescales depend on
    training curriculum and affect performance in memory tasks, 2024, arXiv 2309.12927):

        r_t = f((1 - 1/tau) r_{t-1} + (W r_{t-1} + V x_t + b) / tau)        f = leaky ReLU, W_ii = 0

    tau, in steps, is one number per neuron, at least 1; it starts as 1 + U(0, 1), or as ``tau`` for all neurons. A
    neuron that stands alone forgets by the factor 1 - 1/tau a step. ``train_tau=False`` leaves it as it is (the
    paper's control). ``slope``: of f below zero. ``hidden``: number of neurons, default ``width``; then y_t is r_t
    itself, else y = W_o r.

    form: "recurrent", the only one, a loop over time in PyTorch (one product and f a step: torch's kernel of the ReLU
    network could compute it with the two halves of r as neurons, which takes three times as long).
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        hidden: int | None = None,
        tau: float | None = None,
        train_tau: bool = True,
        slope: float = 0.01,
    ) -> None:
        super().__init__(width)
        self.hidden, self.slope = hidden_size(hidden, width, "LeakyRNN"), slope
        if tau is not None and not tau >= 1:
            raise InputError(f"LeakyRNN: tau is {tau!r}, expected None (drawn) or a number of steps of at least 1")
        self.inputs = nn.Linear(width, self.hidden)  # V and b
        self.recurrent = nn.Parameter(torch.empty(self.hidden, self.hidden))  # W; its diagonal is never read
        nn.init.uniform_(self.recurrent, -(self.hidden**-0.5), self.hidden**-0.5)
        start = 1 + torch.rand(self.hidden) if tau is None else torch.full((self.hidden,), float(tau))
        self.time_constants = nn.Parameter(start, requires_grad=train_tau)
        self.time_constants._no_weight_decay = True  # type: ignore[attr-defined]
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    @property
    def tau(self) -> Tensor:
        """(hidden,), in steps, at least 1."""
        return self.time_constants.clamp(min=1)

    def initial_state(self, batch_size: int) -> LeakyRNNState:
        """Zeros."""
        return LeakyRNNState(self.recurrent.new_zeros(batch_size, self.hidden))

    @torch.no_grad()
    def silence(self, units: Sequence[int]) -> None:
        """Take these neurons out: nothing comes in and nothing goes out, so that their activity is 0 from a still
        start."""
        chosen = torch.as_tensor(list(units), dtype=torch.long)
        if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < self.hidden:
            raise InputError(f"LeakyRNN: silence got {list(units)}, expected neurons from 0 to {self.hidden - 1}")
        self.recurrent[chosen] = 0
        self.recurrent[:, chosen] = 0
        self.inputs.weight[chosen] = 0
        self.inputs.bias[chosen] = 0

    def forward(
        self,
        x: Tensor,
        state: LeakyRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LeakyRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        leak = 1 / self.tau
        # one matrix for what is kept and what comes from the others: (1 - 1/tau) on the diagonal, W / tau beside it
        others = self.recurrent - self.recurrent.diagonal().diag_embed()
        through = ((1 - leak).diag_embed() + leak[:, None] * others).mT
        given = (leak * self.inputs(at_padding(x, mask, 0))).to(through.dtype)

        def step(now: Memory, memory: Memory) -> tuple[Tensor, Memory]:
            r = F.leaky_relu(torch.addmm(now[0], memory[0], through), self.slope)
            return r, (r,)

        r, last = step_by_step(step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(r), LeakyRNNState(*last)
