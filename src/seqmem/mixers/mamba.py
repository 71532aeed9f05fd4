"""Mamba:  h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t,   y_t = <C_t, h_t> + D u_t,   dt, B, C functions of u."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._decoding import decodes, linear, run_kernel
from seqmem.mixers._shared import (
    ShortConv,
    at_padding,
    diagonal_attention,
    inverse_softplus_of_log_uniform,
    read_diagonal,
    resume,
    scaled_width,
    scan_backend,
    signed_attention,
)
from seqmem.mixers.base import Mixer
from seqmem.ops import linear_scan, selective_scan

if TYPE_CHECKING:
    from seqmem.ops._dispatch import Backend


class MambaState(NamedTuple):
    """hidden: (batch, channels, state_size); conv: (batch, conv - 1, channels)."""

    hidden: Tensor
    conv: Tensor


class Mamba(Mixer):
    """The selective state space layer (Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, arXiv
    2312.00752).

    channels = round(expand * width). ``dt_rank``: of the map from u to the time step, default width / 16, rounded up.
    ``bias``: of the projections from and to the width; ``conv_bias``: of the convolution.
    At the start A = -1, ..., -state_size in every channel, D = 1, and softplus of the bias of dt is log-uniform between
    0.001 and 0.1.

    ``allow_negative_eigenvalues``: the decay is 2 exp(dt_t A) - 1, from -1 to 1, so that a token may turn the sign of
    what is remembered (Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024, arXiv 2411.12537).
    The states are then held for every position while they are scanned: state_size times the memory of training.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step.
    """

    convolves: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        *,
        expand: float = 2.0,
        state_size: int = 16,
        conv: int = 4,
        dt_rank: int | None = None,
        bias: bool = False,
        conv_bias: bool = True,
        allow_negative_eigenvalues: bool = False,
    ) -> None:
        super().__init__(width)
        self.scale = 2.0 if allow_negative_eigenvalues else 1.0
        self.channels = scaled_width(width, expand, "Mamba", "expand")
        self.state_size = state_size
        self.dt_rank = -(-width // 16) if dt_rank is None else dt_rank
        for option, size in (("state_size", state_size), ("dt_rank", self.dt_rank)):
            if size < 1:
                raise InputError(f"Mamba: {option} is {size}, expected at least 1")
        self.in_proj = nn.Linear(width, 2 * self.channels, bias=bias)
        self.conv = ShortConv(self.channels, conv, bias=conv_bias, owner="Mamba")
        self.x_proj = nn.Linear(self.channels, self.dt_rank + 2 * state_size, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.channels)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(self.channels, 1))
        self.D = nn.Parameter(torch.ones(self.channels))
        self.out = nn.Linear(self.channels, width, bias=bias)
        with torch.no_grad():
            self.dt_proj.weight.uniform_(-(self.dt_rank**-0.5), self.dt_rank**-0.5)
            self.dt_proj.bias.copy_(inverse_softplus_of_log_uniform(self.channels, 1e-3, 1e-1))

    def initial_state(self, batch_size: int) -> MambaState:
        """Zeros: nothing was read."""
        hidden = self.A_log.new_zeros(batch_size, self.channels, self.state_size)
        return MambaState(hidden, self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: MambaState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, MambaState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        if decodes(self, x, state, mask, reset, form):
            return self.step(x, state)  # type: ignore[arg-type]
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        u, gate, conv = self._inputs(x, state.conv, mask, reset)
        dt, B, C = self._selection(u, mask)
        y, hidden = self._scan(u, dt, B, C, state.hidden, reset, scan_backend(form))
        return self._close(y, u, gate), MambaState(hidden, conv)

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """One token without gradients, x (batch, 1, width); see :mod:`seqmem.mixers._decoding`."""
        now, (hidden, past) = x[:, 0], state
        batch, channels, state_size = hidden.shape
        u, y = now.new_empty((batch, channels)), now.new_empty((batch, channels))
        new, new_past = torch.empty_like(hidden), torch.empty_like(past)
        inputs, conv, dt_proj = linear(self.in_proj, now), self.conv, self.dt_proj
        conv_bias = now.new_zeros(channels) if conv.bias is None else conv.bias
        arrays: tuple[Tensor | None, ...] = inputs, conv.weight, conv_bias, past, u, new_past
        run_kernel("make_conv_silu_step", arrays, batch, 2 * channels, channels, past.shape[1] + 1)
        selection = linear(self.x_proj, u)
        arrays = u, selection, inputs, dt_proj.weight, dt_proj.bias, self.A_log, self.D, hidden, y, new
        run_kernel("make_mamba_step", arrays, batch, channels, state_size, self.dt_rank, self.scale)
        return linear(self.out, y)[:, None], MambaState(new, new_past)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, channels, time, time): the weight of u_j in <C_t, h_t>, from an empty memory; sums the states."""
        self.check_input(x, mask, reset, "auto")
        u, _, _ = self._inputs(x, None, mask, reset)
        dt, B, C = self._selection(u, mask)
        A = -self.A_log.exp()
        total = u.new_zeros(x.shape[0], self.channels, x.shape[1], x.shape[1])
        for n in range(self.state_size):  # one state at a time: (batch, channels, time, time) is large enough
            if self.scale == 1:
                weights = diagonal_attention(dt * A[:, n], dt * B[..., n, None], reset)
            else:
                weights = signed_attention(2 * (dt * A[:, n]).exp() - 1, dt * B[..., n, None], reset)
            total = total + C[:, None, :, n, None] * weights
        return total

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        u, gate, _ = self._inputs(x, None, mask, reset)
        return self._close(read_diagonal(attention, u), u, gate)

    def _scan(
        self, u: Tensor, dt: Tensor, B: Tensor, C: Tensor, hidden: Tensor, reset: Tensor | None, backend: Backend
    ) -> tuple[Tensor, Tensor]:
        """<C_t, h_t> (batch, time, channels) and the last h (batch, channels, state_size)."""
        A = -self.A_log.exp()
        if self.scale == 1:
            return selective_scan(u, dt, A, B, C, hidden, reset=reset, backend=backend)
        decay = 2 * (dt[..., None] * A).exp() - 1  # (batch, time, channels, state_size)
        write = (dt * u)[..., None] * B[:, :, None]
        h, last = linear_scan(decay.flatten(2), write.flatten(2), hidden.flatten(1), reset=reset, backend=backend)
        return torch.einsum("btcn,btn->btc", h.view_as(decay), C), last.view_as(hidden)

    def _inputs(
        self, x: Tensor, conv: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """u and the output gate, (batch, time, channels), and the state of the convolution."""
        u, gate = self.in_proj(x).chunk(2, -1)
        u, conv = self.conv(u, conv, mask, reset)
        return F.silu(u), F.silu(gate), conv

    def _selection(self, u: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """dt (batch, time, channels), 0 at padding; B and C (batch, time, state_size)."""
        low_rank, B, C = self.x_proj(u).split([self.dt_rank, self.state_size, self.state_size], -1)
        dt = F.softplus(self.dt_proj(low_rank).to(u.dtype))
        return at_padding(dt, mask, 0), B.to(u.dtype), C.to(u.dtype)

    def _close(self, y: Tensor, u: Tensor, gate: Tensor) -> Tensor:
        return self.out((y + self.D * u) * gate)
