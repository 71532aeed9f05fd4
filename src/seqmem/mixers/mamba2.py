"""Mamba-2:  S_t = exp(dt_t A) S_{t-1} + B_t (dt_t u_t)^T,   y_t = S_t^T C_t + D u_t;   dt, B, C, u functions of x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._matrix_memory import FORMS, explicit_attention, read_heads, write_and_read
from seqmem.mixers._shared import ShortConv, at_padding, inverse_softplus_of_log_uniform, resume, scaled_width
from seqmem.mixers.base import Mixer, split_heads


class Mamba2State(NamedTuple):
    """memory: (batch, heads, state_size, head); conv: (batch, conv - 1, channels + 2 groups state_size)."""

    memory: Tensor
    conv: Tensor


class Mamba2(Mixer):
    """The state space layer whose decay is one number per head (Transformers are SSMs: Generalized Models and Efficient
    Algorithms Through Structured State Space Duality, 2024, arXiv 2405.21060).

    One projection of x gives the gate z, u, B, C and dt; u, B and C pass a causal convolution over ``conv`` positions
    and SiLU; dt = softplus(. + dt_bias). u has round(expand * width) channels in ``heads`` heads, and ``groups`` groups
    of heads share a B and a C of ``state_size``. y = W_o RMSNorm(y SiLU(z)), normalised over each group's channels. At
    the start A = -1, ..., -heads, D = 1, and softplus(dt_bias) is log-uniform between 0.001 and 0.1. ``expand`` is 1
    and ``state_size`` width / heads by default (2 and 64 to 256 in the paper), so that all matrix memories of this
    library hold states of one size at one width. ``dt_limit``: dt is kept between these two, None for an open end.
    ``norm_eps``: of the gated norm. ``bias``: of the projections from and to the width; ``conv_bias``: of the
    convolution.

    form: "parallel" (the whole matrix, quadratic in time), "chunk" (pieces of 64), "recurrent" (the op ``ssd``,
    position by position); "auto" is "recurrent" for one position, on a CPU and where fla runs, else "chunk".
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = FORMS

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        expand: float = 1.0,
        state_size: int | None = None,
        groups: int = 1,
        conv: int = 4,
        dt_limit: Sequence[float | None] | None = None,
        norm_eps: float = 1e-5,
        bias: bool = False,
        conv_bias: bool = True,
    ) -> None:
        super().__init__(width)
        self.channels = scaled_width(width, expand, "Mamba2", "expand")
        self.head = split_heads(self.channels, heads, "Mamba2")
        self.state_size = -(-width // heads) if state_size is None else state_size
        if self.state_size < 1:
            raise InputError(f"Mamba2: state_size is {state_size}, expected at least 1")
        if groups < 1 or heads % groups:
            raise InputError(f"Mamba2: heads {heads} is not divisible by groups {groups}; choose a divisor of {heads}")
        self.heads, self.groups = heads, groups
        low, high = (None, None) if dt_limit is None else dt_limit
        self.dt_limit = (0.0 if low is None else low, math.inf if high is None else high)
        if not 0 <= self.dt_limit[0] <= self.dt_limit[1]:
            raise InputError(
                f"Mamba2: dt_limit is {dt_limit}, expected (low, high) with 0 <= low <= high, None for open"
            )
        self.norm_eps = norm_eps
        mixed = self.channels + 2 * groups * self.state_size
        self.in_proj = nn.Linear(width, self.channels + mixed + heads, bias=bias)
        self.conv = ShortConv(mixed, conv, bias=conv_bias, owner="Mamba2")
        self.A_log = nn.Parameter(torch.arange(1.0, heads + 1).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.dt_bias = nn.Parameter(inverse_softplus_of_log_uniform(heads, 1e-3, 1e-1))
        self.norm_weight = nn.Parameter(torch.ones(self.channels))
        self.out = nn.Linear(self.channels, width, bias=bias)

    def initial_state(self, batch_size: int) -> Mamba2State:
        """Zeros: nothing was read."""
        memory = self.A_log.new_zeros(batch_size, self.heads, self.state_size, self.head)
        return Mamba2State(memory, self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: Mamba2State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, Mamba2State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        C, B, u, dt, z, conv = self._inputs(x, state.conv, mask, reset)
        write = dt[..., None] * u
        y, memory = write_and_read(C, B, write, self._log_decay(dt), None, state.memory, reset=reset, form=form)
        return self._close(y, u, z), Mamba2State(memory, conv)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time): the weight of u_j in S_t^T C_t, from an empty memory (the paper's L * C B^T)."""
        self.check_input(x, mask, reset, "auto")
        C, B, _, dt, _, _ = self._inputs(x, None, mask, reset)
        return explicit_attention(C, dt[..., None] * B, self._log_decay(dt), None, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        _, _, u, _, z, _ = self._inputs(x, None, mask, reset)
        return self._close(read_heads(attention, u), u, z)

    def _inputs(
        self, x: Tensor, conv: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """C and B (batch, time, heads, state_size), u (batch, time, heads, head), dt (batch, time, heads), 0 at
        padding, the gate z (batch, time, channels), and the state of the convolution.
        """
        shared = self.groups * self.state_size
        z, mixed, dt = self.in_proj(x).split([self.channels, self.channels + 2 * shared, self.heads], -1)
        mixed, conv = self.conv(mixed, conv, mask, reset)
        u, B, C = F.silu(mixed).split([self.channels, shared, shared], -1)
        B, C = (
            part.unflatten(-1, (self.groups, -1)).repeat_interleave(self.heads // self.groups, 2) for part in (B, C)
        )
        dt = F.softplus(dt.to(u.dtype) + self.dt_bias)
        if self.dt_limit != (0.0, math.inf):
            dt = dt.clamp(*self.dt_limit)
        dt = at_padding(dt, mask, 0)
        return C, B, u.unflatten(-1, (self.heads, -1)), dt, z, conv

    def _log_decay(self, dt: Tensor) -> Tensor:
        return -self.A_log.exp() * dt

    def _close(self, y: Tensor, u: Tensor, z: Tensor) -> Tensor:
        """The skip connection, gated norm and projection of what was read, y (batch, time, heads, head)."""
        gated = (y + self.D[:, None] * u).flatten(-2) * F.silu(z)
        normal = F.rms_norm(gated.unflatten(-1, (self.groups, -1)), (self.channels // self.groups,), eps=self.norm_eps)
        return self.out(normal.flatten(-2) * self.norm_weight)
