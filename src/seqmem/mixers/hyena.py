"""Hyena:  y_t = W_o (q_t * (sum_{j<=t} h_{t-j} (k v)_j + D (k v)_t)),   h a long filter given by a small network."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._complex_state import wide
from seqmem.mixers._shared import ShortConv, at_padding, read_diagonal, resume
from seqmem.mixers._softmax import explicit_allowed
from seqmem.mixers.base import Mixer


class HyenaState(NamedTuple):
    """written: (batch, past, width), every k v of the present document, and of rows that read more, of others;
    real: (batch, past) bool, which of them count; conv: (batch, 2, 3 width), the short convolution's inputs.
    """

    written: Tensor
    real: Tensor
    conv: Tensor


class Hyena(Mixer):
    """A gated long convolution of order two (Hyena Hierarchy: Towards Larger Convolutional Language Models, 2023, arXiv
    2302.10866).

    q, k and v pass a causal convolution over 3 positions. The filter h is a network of ``filter_width`` units with sine
    activations over the lag's position features (``bands`` frequencies), under a window that falls exponentially with
    a rate of its own per channel; lags are measured in units of ``horizon`` positions and may exceed it. All that was
    written is kept: the memory grows with time.

    form: "parallel", a convolution by fast Fourier transform, the only way there is.
    """

    rates: Tensor
    memory: ClassVar[str] = "linear"
    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("parallel",)

    def __init__(self, width: int, *, filter_width: int = 64, bands: int = 1, horizon: int = 1024) -> None:
        super().__init__(width)
        if filter_width < 1 or bands < 1 or horizon < 1:
            raise InputError(
                f"Hyena: filter_width {filter_width}, bands {bands}, horizon {horizon}, expected each at least 1"
            )
        self.bands, self.horizon = bands, horizon
        self.qkv = nn.Linear(width, 3 * width)
        self.conv = ShortConv(3 * width, 3, bias=True, owner="Hyena")
        sizes = (1 + 2 * bands, filter_width, filter_width, filter_width)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.frequency = nn.Parameter(torch.full((filter_width,), 10.0))  # of the sines
        self.taps = nn.Linear(filter_width, width, bias=False)
        rates = torch.linspace(math.log(100) / 1.5, math.log(100) / 0.3, width)  # down to 1 % at 1.5 ... 0.3 horizons
        self.register_buffer("rates", rates)
        self.skip = nn.Parameter(torch.randn(width))  # D
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size: int) -> HyenaState:
        """Nothing was read."""
        written = self.skip.new_zeros(batch_size, 0, self.width)
        return HyenaState(written, written.new_zeros(batch_size, 0, dtype=torch.bool), self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: HyenaState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, HyenaState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        batch, time, _ = x.shape
        q, k, v, conv = self._projected(x, state.conv, mask, reset)
        written = torch.cat([state.written, k * v], 1)  # (batch, past + time, width)
        now = torch.ones(batch, time, dtype=torch.bool, device=x.device) if mask is None else mask
        real = torch.cat([state.real, now], 1)
        document = torch.zeros_like(real, dtype=torch.long)
        if reset is not None:
            document[:, -time:] = reset.cumsum(1)
        read = self._convolve(written, real, document)[:, -time:]
        return self.out(q * read), HyenaState(*self._kept(written, real & (document == document[:, -1:])), conv)

    def kernel(self, time: int) -> Tensor:
        """(time, width): h at the lags 0 ... time - 1, without D."""
        dtype = wide(self.skip).dtype
        lag = torch.arange(time, device=self.skip.device, dtype=dtype)[:, None] / self.horizon
        angles = 2 * math.pi * torch.arange(1, self.bands + 1, device=lag.device, dtype=dtype) * lag
        h = torch.cat([lag, angles.cos(), -angles.sin()], -1)
        with torch.autocast(lag.device.type, enabled=False):
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                h = torch.sin(wide(self.frequency) * F.linear(h, wide(layer.weight), wide(layer.bias)))
            return F.linear(h, wide(self.taps.weight)) * torch.exp(-lag * self.rates.to(dtype))

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, width, time, time): q_t (h_{t-j} + D [t = j]) k_j, the weight of v_j, from an empty memory."""
        self.check_input(x, mask, reset, "auto")
        q, k, _, _ = self._projected(x, None, mask, reset)
        allowed, position = explicit_allowed(x, mask, reset, None)
        lag = position[:, :, None] - position[:, None, :]  # (batch, t, j)
        h = self.kernel(x.shape[1])
        h = torch.cat([h[:1] + self.skip, h[1:]])
        weights = h[lag.clamp_min(0)].masked_fill(~allowed[..., None], 0)  # (batch, t, j, width)
        return torch.einsum("btc,btjc,bjc->bctj", q, weights, k)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        return self.out(read_diagonal(attention, self._projected(x, None, mask, reset)[2]))

    def _projected(
        self, x: Tensor, conv: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k, v (batch, time, width) behind the short convolution, and its state."""
        qkv, conv = self.conv(self.qkv(at_padding(x, mask, 0)), conv, mask, reset)
        q, k, v = qkv.to(self.skip.dtype).chunk(3, -1)
        return q, k, v, conv

    def _convolve(self, written: Tensor, real: Tensor, document: Tensor) -> Tensor:
        """h * written + D written within each document, (batch, time, width), zeros where not ``real``.

        Every document becomes a row of its own, so that a position's place in it is its place in the convolution.
        """
        batch, time, width = written.shape
        place = real.flatten().nonzero()[:, 0]  # (tokens,)
        if len(place) == 0:
            return torch.zeros_like(written)
        number = (torch.arange(batch, device=real.device)[:, None] * (time + 1) + document).flatten()[place]
        _, row, length = torch.unique_consecutive(number, return_inverse=True, return_counts=True)
        column = torch.arange(len(place), device=real.device) - (length.cumsum(0) - length)[row]
        tokens, longest = wide(written).flatten(0, 1)[place], int(length.max())
        rows = tokens.new_zeros(len(length), longest, width).index_put((row, column), tokens)
        size = 2 * longest  # so that the end does not wrap round to the beginning
        spectrum = torch.fft.rfft(rows, n=size, dim=1) * torch.fft.rfft(self.kernel(longest), n=size, dim=0)
        read = torch.fft.irfft(spectrum, n=size, dim=1)[row, column] + self.skip * tokens
        everywhere = torch.zeros_like(written).flatten(0, 1)
        return everywhere.index_copy(0, place, read.to(written.dtype)).unflatten(0, (batch, time))

    @staticmethod
    def _kept(written: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """What has to be remembered: the columns from the first that some row still needs."""
        needed = real.any(0).nonzero()
        first = int(needed[0]) if len(needed) else real.shape[1]
        return written[:, first:].masked_fill(~real[:, first:, None], 0), real[:, first:]
