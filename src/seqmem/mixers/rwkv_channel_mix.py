"""RWKV's channel mixing:  y_t = sigmoid(W_r x'_t) * W_v max(W_k x''_t, 0)^2,   x' and x'' mixed with x_{t-1}."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._rwkv import Depth, ramp, token_shift
from seqmem.mixers._shared import at_padding, resume, scaled_width
from seqmem.mixers.base import Mixer
from seqmem.mixers.rwkv4 import mixed


class RWKVChannelMixState(NamedTuple):
    """previous: (batch, 1, width), the newest input."""

    previous: Tensor


class RWKVChannelMix(Mixer):
    """What stands in RWKV-4 where a transformer has its MLP; it sees one position back (RWKV: Reinventing RNNs for the
    Transformer Era, 2023, arXiv 2305.13048).

    r and k = W (mu x_t + (1 - mu) x_{t-1}) with a mu (width,) each; hidden width round(expand * width). The network of
    the paper is ``SequenceConfig(..., layers=["rwkv4", "rwkv_channel_mix", ...], mlp_width=0)``, apart from the kind of
    its norms. ``layer`` and ``depth``: where in the network it stands; mu begins accordingly. W_r and W_v begin at zero
    (the layer then gives zero), W_k orthogonal. ``views``: as in :class:`seqmem.mixers.rwkv4.RWKV4`.

    There is one form, "parallel": nothing recurs.
    """

    forms: ClassVar[tuple[str, ...]] = ("parallel",)

    def __init__(self, width: int, *, expand: float = 4.0, layer: int = 0, depth: int = 1, views: int = 1) -> None:
        super().__init__(width)
        at = Depth(layer, depth, "RWKVChannelMix")
        if views < 1:
            raise InputError(f"RWKVChannelMix: views is {views}, expected at least 1")
        hidden = scaled_width(width, expand, "RWKVChannelMix", "expand")
        self.mu = nn.Parameter((ramp(width) ** at.falling).repeat(views, 2, 1))  # of r and k
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.receptance.weight)
        nn.init.zeros_(self.value.weight)
        nn.init.orthogonal_(self.key.weight, gain=max(expand, 1.0) ** 0.5)

    def initial_state(self, batch_size: int) -> RWKVChannelMixState:
        """Zeros: nothing was read."""
        return RWKVChannelMixState(self.mu.new_zeros(batch_size, 1, self.width))

    def forward(
        self,
        x: Tensor,
        state: RWKVChannelMixState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RWKVChannelMixState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        shifted, last = token_shift(x, state.previous, mask, reset)
        xr, xk = mixed(x, shifted.to(x.dtype), self.mu)
        y = torch.sigmoid(self.receptance(xr)) * self.value(torch.relu(self.key(xk)).square())
        return y, RWKVChannelMixState(last)
