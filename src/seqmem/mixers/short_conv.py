"""Gated short convolution:  (b_t, c_t, u_t) = W x_t,   y_t = W_o (c_t * sum_{j<kernel} w_j (b * u)_{t-j})."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from seqmem.mixers._shared import ShortConv, at_padding, resume
from seqmem.mixers.base import Mixer


class ShortConvState(NamedTuple):
    """conv: (batch, kernel - 1, width), the most recent inputs of the convolution."""

    conv: Tensor


class GatedShortConv(Mixer):
    """A causal convolution over ``kernel`` positions between two gates, the layer of LFM2 (LFM2 Technical Report, 2025,
    arXiv 2511.23404): what can be done with a memory of the last few tokens alone.

    form: "parallel" is the op ``causal_conv``, the only way there is.
    """

    convolves: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("parallel",)

    def __init__(self, width: int, *, kernel: int = 3, bias: bool = False) -> None:
        super().__init__(width)
        self.gates_and_input = nn.Linear(width, 3 * width, bias=bias)
        self.conv = ShortConv(width, kernel, bias=bias, owner="GatedShortConv")
        self.out = nn.Linear(width, width, bias=bias)

    def initial_state(self, batch_size: int) -> ShortConvState:
        """Zeros: nothing was read."""
        return ShortConvState(self.conv.empty(batch_size))

    def forward(
        self,
        x: Tensor,
        state: ShortConvState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, ShortConvState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        before, after, u = self.gates_and_input(at_padding(x, mask, 0)).chunk(3, -1)
        u, last = self.conv(before * u, state.conv, mask, reset)
        return self.out(after * u), ShortConvState(last)
