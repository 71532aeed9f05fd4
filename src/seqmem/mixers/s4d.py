"""S4D, per channel:  h_t = exp(A dt) * h_{t-1} + ((exp(A dt) - 1) / A) x_t,   y_t = 2 Re(C . h_t) + D x_t."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._complex_state import log_uniform, scan, wide, zero_order_hold
from seqmem.mixers._hippo import normal_eigenvalues
from seqmem.mixers._shared import at_padding, read_diagonal, resume
from seqmem.mixers._softmax import explicit_allowed
from seqmem.mixers.base import Mixer

INITIALISATIONS = ("lin", "inv", "legs")


class S4DState(NamedTuple):
    """hidden: (batch, width * state / 2, 2), real and imaginary parts of one of each conjugate pair."""

    hidden: Tensor


class S4D(Mixer):
    """A diagonal state space for every channel of its own (On the Parameterization and Initialization of Diagonal State
    Space Models, 2022, arXiv 2206.11893).

    ``state``: real size per channel, even; A consists of conjugate pairs of which one is kept. ``initialisation``:
    "lin", A_n = -1/2 + i pi n; "inv", A_n = -1/2 + i (N / pi)(N / (2n + 1) - 1) with N the real size; "legs", the
    eigenvalues of HiPPO-N. dt, one per channel, begins log-uniform between ``shortest`` and ``longest``; zero-order
    hold; B = 1. Behind it GELU and a gated linear unit that mixes the channels.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step. :meth:`kernel` gives the same layer as a convolution.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int = 32,
        initialisation: str = "lin",
        shortest: float = 1e-3,
        longest: float = 1e-1,
    ) -> None:
        super().__init__(width)
        if state < 2 or state % 2:
            raise InputError(f"S4D: state is {state}, expected an even number of at least 2")
        if not 0 < shortest <= longest:
            raise InputError(f"S4D: time steps from {shortest} to {longest}, expected 0 < shortest <= longest")
        self.pairs = state // 2
        frequency = _frequencies(initialisation, self.pairs)
        self.log_decay = nn.Parameter(torch.full((width, self.pairs), math.log(0.5)))
        self.frequency = nn.Parameter(frequency.expand(width, -1).clone())
        self.log_step = nn.Parameter(log_uniform(width, shortest, longest))
        self.reading = nn.Parameter(torch.randn(width, self.pairs, 2) * 0.5**0.5)  # C
        self.skip = nn.Parameter(torch.randn(width))  # D
        self.out = nn.Linear(width, 2 * width)

    def initial_state(self, batch_size: int) -> S4DState:
        """Zeros: nothing was read."""
        return S4DState(self.skip.new_zeros(batch_size, self.width * self.pairs, 2))

    def forward(
        self,
        x: Tensor,
        state: S4DState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, S4DState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = wide(at_padding(x, mask, 0).to(self.skip.dtype))
        decay, factor = self._discretised()  # (width, pairs)
        write = (x[..., None] * factor).flatten(-2)  # (batch, time, width * pairs)
        h, last = scan(decay.flatten(), write, state.hidden, mask=mask, reset=reset, form=form)
        h = torch.view_as_real(h).unflatten(2, (self.width, self.pairs))
        y = torch.einsum("bthnc,hnc->bth", h, self._conjugate_reading())
        return self._close(x, y), S4DState(last)

    def kernel(self, time: int) -> Tensor:
        """(width, time): what is read of a unit impulse, ``y_t = sum_l kernel[:, l] x_{t-l} + D x_t``."""
        lag = torch.arange(time, device=self.skip.device)
        decay, factor = self._discretised()
        h = torch.view_as_real(factor[..., None] * decay[..., None] ** lag)  # (width, pairs, time, 2)
        return torch.einsum("hntc,hnc->ht", h, self._conjugate_reading())

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, width, time, time): the weight of x_j in what channel c reads at t, from an empty memory: the kernel
        at the number of positions between the two.
        """
        self.check_input(x, mask, reset, "auto")
        allowed, position = explicit_allowed(x, mask, reset, None)
        lag = (position[:, :, None] - position[:, None, :]).clamp_min(0)  # (batch, t, j)
        return self.kernel(x.shape[1])[:, lag].transpose(0, 1) * allowed[:, None]

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self._close(x, read_diagonal(attention, x))

    def _discretised(self) -> tuple[Tensor, Tensor]:
        eigenvalue = torch.complex(-wide(self.log_decay).exp(), wide(self.frequency))
        return zero_order_hold(eigenvalue, wide(self.log_step).exp()[:, None])

    def _conjugate_reading(self) -> Tensor:
        """2 Re C and -2 Im C: their product with the parts of h is 2 Re(C h)."""
        return wide(self.reading) * wide(self.reading).new_tensor([2.0, -2.0])

    def _close(self, x: Tensor, y: Tensor) -> Tensor:
        return F.glu(self.out(F.gelu(y + self.skip * x).to(self.out.weight.dtype)), -1)


def _frequencies(initialisation: str, pairs: int) -> Tensor:
    n = torch.arange(pairs, dtype=torch.float64)
    if initialisation == "lin":
        return (math.pi * n).float()
    if initialisation == "inv":
        size = 2 * pairs
        return (size / math.pi * (size / (2 * n + 1) - 1)).float()
    if initialisation == "legs":
        return normal_eigenvalues(2 * pairs)[0].imag.float()
    raise InputError(f"S4D: initialisation is {initialisation!r}, expected one of {', '.join(INITIALISATIONS)}")
