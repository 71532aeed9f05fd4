"""Causal depthwise convolution with a state:  y_t[c] = bias[c] + sum_j weight[c, j] x_{t-(kernel-1)+j}[c]."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


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
    mask: (batch, time) bool, False where a position is padding: it is skipped, as if the sequence did not hold it (its
    y is finite and unspecified); reset: (batch, time) bool, True where a new document begins: nothing before it is seen.
    Returns (y (batch, time, channels) in x's dtype, final state (batch, kernel - 1, channels)). bfloat16 and float16 are
    computed in float32, and their final state stays in it.
    """
    if x.dim() != 3 or weight.dim() != 2 or weight.shape[1] < 1:
        raise InputError(
            f"causal_conv: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (batch, time, channels) and (channels, kernel) with kernel >= 1"
        )
    (batch, time, channels), kernel = x.shape, weight.shape[1]
    expect_shape("causal_conv", "weight", weight, "channels, kernel", channels, kernel)
    expect_shape("causal_conv", "bias", bias, "channels", channels)
    expect_shape("causal_conv", "state", state, "batch, kernel - 1, channels", batch, kernel - 1, channels)
    expect_flags("causal_conv", "mask", mask, batch, time)
    expect_flags("causal_conv", "reset", reset, batch, time)
    out, dtype = x.dtype, computed_in(common_dtype("causal_conv", x, weight, bias, state))
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    state = x.new_zeros(batch, kernel - 1, channels) if state is None else state.to(dtype)
    if time == 0:
        return x.to(out), state

    document = None if reset is None else reset.cumsum(1)  # (batch, time): how many documents began up to here
    if mask is None:
        y, final = _convolve(x, weight, bias, state, document)
        return y.to(out), final

    # Valid positions move to the front in their order, are convolved there, and the results move back.
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # (batch, time)
    count = mask.sum(1, keepdim=True)  # (batch, 1)
    behind = torch.arange(time, device=x.device) >= count
    packed = x.gather(1, order[..., None].expand_as(x)).masked_fill(behind[..., None], 0)
    if document is not None:
        last = document[:, -1:]
        document = document.gather(1, order).where(~behind, last)
    y, _ = _convolve(packed, weight, bias, state, document)
    rank = (mask.cumsum(1) - 1).clamp(min=0)
    y = y.gather(1, rank[..., None].expand_as(y))

    window = count + torch.arange(kernel - 1, device=x.device)  # (batch, kernel - 1), in state followed by packed
    final = torch.cat([state, packed], 1).gather(1, window[..., None].expand_as(state))
    if document is not None:
        seen = torch.cat([document.new_zeros(batch, kernel - 1), document], 1).gather(1, window) == last
        final = final.where(seen[..., None], 0)
    return y.to(out), final


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, document: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Every position valid; a window sees only its own document. The state's document is number 0."""
    (_, time, _), kernel = x.shape, weight.shape[1]
    padded = torch.cat([state, x], 1)  # (batch, kernel - 1 + time, channels)
    final = padded[:, time:]
    if document is not None:
        numbers = torch.cat([document.new_zeros(len(x), kernel - 1), document], 1)
    taps = weight.t().contiguous()  # (kernel, channels)
    y = torch.zeros_like(taps[0]) if bias is None else bias
    for j in range(kernel):
        tap = padded[:, j : j + time]
        if document is not None and j < kernel - 1:
            tap = tap.where((numbers[:, j : j + time] == document)[..., None], 0)
        y = torch.addcmul(y, taps[j], tap)
    if document is not None:
        final = final.where((numbers[:, time:] == document[:, -1:])[..., None], 0)
    return y, final.clone()
