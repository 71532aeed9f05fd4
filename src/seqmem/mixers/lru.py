"""LRU:  h_t = lambda * h_{t-1} + gamma * (B x_t),  y_t = Re(C h_t) + D * x_t,  lambda = exp(-e^nu + i e^theta)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._complex_state import into_complex, real_part_of, scan, wide
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer

#: The paper's way from the tanh network to the LRU, what each step adds: ``SequenceConfig(layers=[LADDER["ring"]])``
LADDER: dict[str, dict[str, Any]] = {
    "tanh": {"name": "rnn"},
    "linear": {"name": "rnn", "nonlinearity": "linear"},
    "diagonal": {"name": "lru", "exponential": False, "normalised": False},
    "exponential": {"name": "lru", "normalised": False},
    "ring": {"name": "lru", "normalised": False, "smallest": 0.9, "largest": 0.999},
    "normalised": {"name": "lru", "smallest": 0.9, "largest": 0.999},
    "phase": {"name": "lru", "smallest": 0.9, "largest": 0.999, "phase": math.pi / 10},
}


class LRUState(NamedTuple):
    """hidden: (batch, state, 2), real and imaginary parts."""

    hidden: Tensor


class LRU(Mixer):
    """The linear recurrent unit (Resurrecting Recurrent Neural Networks for Long Sequences, 2023, arXiv 2303.06349).

    ``state``: complex units, default ``width``. The eigenvalues lambda begin with their squared modulus uniform between
    ``smallest``^2 and ``largest``^2 (the paper's r_min, r_max) and their phase uniform in [0, ``phase``]; gamma begins
    as sqrt(1 - |lambda|^2), or as 1 with ``normalised=False``. With ``exponential=False`` the real and imaginary parts
    of lambda are learned as they are, and may leave the unit circle. B and C are dense and complex, D a factor per
    channel. Nothing here is nonlinear: put a gated MLP behind it, as ``SequenceLM`` does. The paper trains nu, theta
    and gamma at a quarter to a half of the other weights' rate, without weight decay.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step. :meth:`convolve` is the same layer as a convolution by FFT, :meth:`kernel` its
    filter. :data:`LADDER` has the steps that lead here from the tanh network.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int | None = None,
        smallest: float = 0.0,
        largest: float = 1.0,
        phase: float = 2 * math.pi,
        normalised: bool = True,
        exponential: bool = True,
    ) -> None:
        super().__init__(width)
        self.state = width if state is None else state
        if self.state < 1:
            raise InputError(f"LRU: state is {state!r}, expected at least 1 complex unit")
        if not 0 <= smallest < largest <= 1:
            raise InputError(f"LRU: smallest {smallest} and largest {largest}, expected 0 <= smallest < largest <= 1")
        if phase <= 0:
            raise InputError(f"LRU: phase is {phase}, expected an angle above 0 (2 pi for the whole circle)")
        squared = torch.empty(self.state).uniform_(smallest**2, largest**2).clamp(1e-12, 1 - 1e-6)
        angle = phase * torch.rand(self.state).clamp_min(1e-6)
        if exponential:
            self.decay = nn.Parameter(torch.log(-0.5 * torch.log(squared)))  # nu
            self.phase = nn.Parameter(torch.log(angle))  # theta
        else:
            self.eigenvalue = nn.Parameter(squared.sqrt()[:, None] * torch.stack([angle.cos(), angle.sin()], 1))
        self.exponential = exponential
        self.scale = nn.Parameter(0.5 * torch.log1p(-squared) if normalised else torch.zeros(self.state))  # log gamma
        self.write = nn.Linear(width, 2 * self.state, bias=False)  # B
        self.out = nn.Linear(2 * self.state, width, bias=False)  # C
        self.skip = nn.Parameter(torch.randn(width))  # D
        nn.init.normal_(self.write.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.out.weight, std=self.state**-0.5)

    def initial_state(self, batch_size: int) -> LRUState:
        """Zeros: nothing was read."""
        return LRUState(self.skip.new_zeros(batch_size, self.state, 2))

    def forward(
        self,
        x: Tensor,
        state: LRUState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LRUState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        write = wide(self.scale).exp() * into_complex(self.write, x)  # (batch, time, state)
        h, last = scan(self.eigenvalues(), write, state.hidden, mask=mask, reset=reset, form=form)
        return real_part_of(self.out, h) + self.skip * x, LRUState(last)

    def eigenvalues(self) -> Tensor:
        """lambda, (state,) complex, all inside the unit circle where ``exponential``."""
        if not self.exponential:
            return torch.view_as_complex(wide(self.eigenvalue))
        return torch.exp(torch.complex(-wide(self.decay).exp(), wide(self.phase).exp()))

    def convolve(self, x: Tensor) -> Tensor:
        """y (batch, time, width) from an empty memory: the powers of lambda, convolved with B x by FFT."""
        self.check_input(x, None, None, "auto")
        time = x.shape[1]
        write = wide(self.scale).exp() * into_complex(self.write, x)  # (batch, time, state)
        powers = self.eigenvalues() ** torch.arange(time, device=x.device)[:, None]  # (time, state)
        spectrum = torch.fft.fft(write, n=2 * time, dim=1) * torch.fft.fft(powers, n=2 * time, dim=0)
        return real_part_of(self.out, torch.fft.ifft(spectrum, dim=1)[:, :time]) + self.skip * x

    def kernel(self, time: int) -> Tensor:
        """(time, width, width): y_t = sum_l kernel[l] x_{t-l} + D * x_t, from an empty memory."""
        lag = torch.arange(time, device=self.skip.device)
        weight = wide(self.write.weight).unflatten(0, (-1, 2)).mT.contiguous()
        b = wide(self.scale).exp()[:, None] * torch.view_as_complex(weight)
        powers = self.eigenvalues() ** lag[:, None]  # (time, state)
        return real_part_of(self.out, (powers[..., None] * b).mT).mT
