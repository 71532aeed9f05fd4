"""Small pieces that several recurrent layers use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._packing import check_state
from seqmem.ops import causal_conv
from seqmem.ops._decay import decay_matrix

if TYPE_CHECKING:
    from seqmem.mixers.base import Mixer
    from seqmem.ops._dispatch import Backend

S = TypeVar("S")


def resume(mixer: Mixer, state: S | None, x: Tensor) -> S:
    """The given state, or the empty one for None. InputError when it was made for another number of rows than ``x``
    has.
    """
    check_state(state, x, type(mixer).__name__)
    return mixer.initial_state(x.shape[0]) if state is None else state


def scan_backend(form: str) -> Backend:
    """The op's backend for a form of a diagonal layer: its own choice; for "recurrent" the loop over time."""
    return "reference" if form == "recurrent" else "auto"


def at_padding(x: Tensor, mask: Tensor | None, value: float) -> Tensor:
    """``x`` (batch, time, ...) with ``value`` where ``mask`` (batch, time) is False."""
    if mask is None:
        return x
    return x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), value)


def count_positions(start: Tensor, time: int, mask: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
    """How many real (not padding) positions of its document lie before each position, and the count to go on from.

    start: (batch,) int64, how many lay before the first. Returns ((batch, time), (batch,)), int64.
    """
    if mask is None and reset is None:
        return start[:, None] + torch.arange(time, device=start.device), start + time
    shape = (start.shape[0], time)
    real = mask.long() if mask is not None else torch.ones(shape, dtype=torch.long, device=start.device)
    before = start[:, None] + real.cumsum(1) - real
    if reset is not None:
        before = (
            before - torch.where(reset, before, 0).cummax(1).values
        )  # `before` never falls: the latest reset has the largest
    return before, before[:, -1] + real[:, -1]


def l2_normalise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """``x`` with its last axis at unit length: x / sqrt(|x|^2 + eps)."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def inverse_softplus_of_log_uniform(size: int, low: float, high: float) -> Tensor:
    """(size,) numbers whose softplus is log-uniform between ``low`` and ``high``: the usual initial bias of a time
    step.
    """
    step = torch.exp(torch.empty(size).uniform_(math.log(low), math.log(high)))
    return step + torch.log(-torch.expm1(-step))


class ShortConv(nn.Module):
    """Causal depthwise convolution over the last ``kernel`` positions; its state is (batch, kernel - 1, channels)."""

    def __init__(self, channels: int, kernel: int, *, bias: bool, owner: str) -> None:
        super().__init__()
        if kernel < 1:
            raise InputError(f"{owner}: conv is {kernel}, expected at least 1 (1 sees the present position alone)")
        self.weight = nn.Parameter(torch.empty(channels, kernel).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def empty(self, batch_size: int) -> Tensor:
        """The state before anything was read."""
        channels, kernel = self.weight.shape
        return self.weight.new_zeros(batch_size, kernel - 1, channels)

    def forward(
        self, x: Tensor, state: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x: (batch, time, channels) -> the same shape, and the state to go on from; computed in the dtype of the
        weights.
        """
        return causal_conv(x.to(self.weight.dtype), self.weight, self.bias, state, mask=mask, reset=reset)


def diagonal_attention(log_decay: Tensor, write: Tensor, reset: Tensor | None) -> Tensor:
    """The attention matrix of  h_t = exp(log_decay_t) h_{t-1} + write_t value_t,  one head per channel.

    log_decay, write: (batch, time, channels) -> (batch, channels, time, time).
    """
    if reset is not None:
        log_decay = log_decay.masked_fill(reset[..., None], -torch.inf)
    return decay_matrix(log_decay.mT) * write.mT[..., None, :]


def signed_attention(decay: Tensor, write: Tensor, reset: Tensor | None) -> Tensor:
    """:func:`diagonal_attention` for decays from -1 to 1: their logarithms, and the product of their signs. A decay
    of 0 counts as the smallest number of its dtype."""
    tiny = torch.finfo(decay.dtype).tiny
    sign = torch.where(decay < 0, -1.0, 1.0).to(decay.dtype).cumprod(1).mT  # (batch, channels, time)
    weights = diagonal_attention(decay.abs().clamp(min=tiny).log(), write, reset)
    return weights * sign[..., :, None] * sign[..., None, :]


def read_diagonal(attention: Tensor, value: Tensor) -> Tensor:
    """attention (batch, channels, time, time), value (batch, time, channels) -> (batch, time, channels)."""
    return torch.einsum("bctj,bjc->btc", attention, value)


def positive(x: Tensor) -> Tensor:
    """g(x) = x + 1/2 above zero, sigmoid(x) below: positive, continuous, increasing."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def scaled_width(width: int, factor: float, owner: str, option: str) -> int:
    """round(factor * width), or InputError when nothing is left."""
    size = round(factor * width) if math.isfinite(factor) else 0
    if size < 1:
        raise InputError(
            f"{owner}: {option} is {factor!r}, expected a number that makes round({option} * {width}) at least 1"
        )
    return size


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1, positive."""
    return F.elu(x) + 1
