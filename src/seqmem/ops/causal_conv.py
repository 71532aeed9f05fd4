"""Causal depthwise convolution with a state:  y_t[c] = bias[c] + sum_j weight[c, j] x_{t-(kernel-1)+j}[c]."""

from __future__ import annotations

from torch import Tensor


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    state: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Short convolution over time, one filter per channel.

    x: (batch, time, channels); weight: (channels, kernel), the last column meets the present step; bias: (channels,);
    state: (batch, kernel - 1, channels), the most recent inputs, oldest first, default zero;
    mask: (batch, time) bool, False where a position is padding: it is skipped, as if the sequence did not hold it (its y is finite and
    unspecified); reset: (batch, time) bool, True where a new document begins: nothing before it is seen.
    Returns (y (batch, time, channels), final state (batch, kernel - 1, channels)).
    """
    raise NotImplementedError
