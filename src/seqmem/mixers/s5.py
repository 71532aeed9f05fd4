"""S5:  h_t = exp(lambda dt) * h_{t-1} + ((exp(lambda dt) - 1) / lambda) * (B x_t),   y_t = 2 Re(C h_t) + D * x_t."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._complex_state import into_complex, log_uniform, real_part_of, scan, wide, zero_order_hold
from seqmem.mixers._hippo import normal_eigenvalues
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer


class S5State(NamedTuple):
    """hidden: (batch, state / 2, 2), real and imaginary parts of one of each conjugate pair."""

    hidden: Tensor


class S5(Mixer):
    """One state space for all channels (Simplified State Space Layers for Sequence Modeling, 2022, arXiv 2208.04933).

    ``state``: real size, even; the eigenvalues lambda are conjugate pairs of which one is kept. They begin as those of
    HiPPO-N, the normal part of HiPPO-LegS, in ``blocks`` equal blocks; the time step dt, one per pair, log-uniform
    between ``shortest`` and ``longest``; discretised by zero-order hold. B and C are dense and complex, D is a factor
    per channel. The output passes the paper's gate, u = gelu(y), u * sigmoid(W u).

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step.
    """

    def __init__(
        self, width: int, *, state: int | None = None, blocks: int = 1, shortest: float = 1e-3, longest: float = 1e-1
    ) -> None:
        super().__init__(width)
        self.state = width + width % 2 if state is None else state
        if self.state < 2 or blocks < 1 or self.state % (2 * blocks):
            raise InputError(f"S5: state is {self.state} in {blocks} blocks, expected a multiple of 2 * blocks")
        if not 0 < shortest <= longest:
            raise InputError(f"S5: time steps from {shortest} to {longest}, expected 0 < shortest <= longest")
        pairs = self.state // 2
        eigenvalue, basis = normal_eigenvalues(self.state // blocks)  # (pairs / blocks,), (state / blocks, the same)
        self.log_decay = nn.Parameter(torch.log(-eigenvalue.real).repeat(blocks).float())
        self.frequency = nn.Parameter(eigenvalue.imag.repeat(blocks).float())
        self.log_step = nn.Parameter(log_uniform(pairs, shortest, longest))
        self.write = nn.Linear(width, self.state, bias=False)  # B in the basis of the eigenvectors
        self.out = nn.Linear(self.state, width, bias=False)  # C in it
        self.skip = nn.Parameter(torch.randn(width))  # D
        self.gate = nn.Linear(width, width)
        with torch.no_grad():
            v = torch.block_diag(*[basis] * blocks)  # (state, pairs), its columns the eigenvectors
            b = v.mH @ (torch.randn(self.state, width) * width**-0.5).to(v.dtype)  # (pairs, width)
            c = torch.view_as_complex(torch.randn(width, self.state, 2) * (2 * self.state) ** -0.5).to(v.dtype) @ v
            self.write.weight.copy_(torch.view_as_real(b).transpose(1, 2).flatten(0, 1))
            self.out.weight.copy_(torch.view_as_real(c.conj().resolve_conj()).flatten(1))  # Re C, -Im C

    def initial_state(self, batch_size: int) -> S5State:
        """Zeros: nothing was read."""
        return S5State(self.skip.new_zeros(batch_size, self.state // 2, 2))

    def forward(
        self,
        x: Tensor,
        state: S5State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, S5State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        decay, factor = zero_order_hold(self.eigenvalues(), wide(self.log_step).exp())
        h, last = scan(
            decay, factor * into_complex(self.write, x), state.hidden, mask=mask, reset=reset, form=form
        )  # (batch, time, state / 2)
        u = F.gelu(2 * real_part_of(self.out, h) + self.skip * x)
        return u * torch.sigmoid(self.gate(u)), S5State(last)

    def eigenvalues(self) -> Tensor:
        """lambda of the continuous system, (state / 2,) complex, left of the imaginary axis."""
        return torch.complex(-wide(self.log_decay).exp(), wide(self.frequency))
