"""Causal depthwise convolution with a state:  y_t[c] = bias[c] + sum_j weight[c, j] x_{t-(kernel-1)+j}[c]."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


def causal_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor, reach: Tensor | None = None
) -> Tensor:
    """The sum over shifted inputs, on any device and dtype: y (batch, time, channels). Shapes as in
    :func:`causal_conv`; reach: (batch, time), how many inputs before t are seen there, None for all."""
    time, kernel = x.shape[1], weight.shape[1]
    padded, y = torch.cat([state, x], 1), bias
    for j, tap in enumerate(weight.t()):
        shifted = padded[:, j : j + time]
        if reach is not None:
            shifted = shifted.where((kernel - 1 - j <= reach)[..., None], 0)
        y = torch.addcmul(y, tap, shifted)
    return y


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    state: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Short convolution over time, one filter per channel.

    x: (batch, time, channels); weight: (channels, kernel), the last column meets the present step; bias: (channels,);
    state: (batch, kernel - 1, channels), the most recent inputs, oldest first, default zero;
    mask: (batch, time) bool, False where a position is padding: it is skipped, as if the sequence did not hold it (its
    y is finite and unspecified); reset: (batch, time) bool, True where a new document begins: nothing before it is
    seen. bfloat16 and float16 are computed in float32, and their final state stays in it.
    Returns (y (batch, time, channels) in x's dtype, final state (batch, kernel - 1, channels)).
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
    path = choose("causal_conv", backend, time, x, weight, bias, state, mask)  # a mask: not "step"
    if path == "step":
        from seqmem.ops._step import conv_step

        return conv_step(x, weight, bias, state, reset)
    out, dtype = x.dtype, computed_in(common_dtype("causal_conv", x, weight, bias, state))
    x, weight = x.to(dtype), weight.to(dtype)
    bias = x.new_zeros(channels) if bias is None else bias.to(dtype)
    state = x.new_zeros(batch, kernel - 1, channels) if state is None else state.to(dtype)
    if x.numel() == 0:
        return x.to(out), state

    valid, order = x, None
    if mask is not None:  # valid inputs move to the front in their order; what is behind them meets nothing
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # (batch, time)
        count = mask.sum(1, keepdim=True)  # (batch, 1)
        behind = torch.arange(time, device=x.device) >= count
        valid = x.gather(1, order[..., None].expand_as(x)).masked_fill(behind[..., None], 0)
    reach = None
    if reset is not None:  # inputs of the present document so far: those since its reset, or all and the whole state
        read = (torch.ones_like(reset) if mask is None else mask).cumsum(1)
        before = read - (1 if mask is None else mask.long())
        fresh = read - before.masked_fill(~reset, -kernel).cummax(1).values  # (batch, time)
        reach = ((fresh if order is None else fresh.gather(1, order)) - 1).clamp(0, kernel - 1)

    if path == "numba":
        from seqmem.ops._causal_conv_numba import convolve

        y = convolve(valid, weight, bias, state, reach)
    else:
        y = causal_conv_reference(valid, weight, bias, state, reach)

    if mask is None:
        recent = valid[:, max(0, time - kernel + 1) :]
        final = torch.cat([state, recent], 1)[:, recent.shape[1] :].contiguous()  # (batch, kernel - 1, channels)
    else:
        y = y.gather(1, (mask.cumsum(1) - 1).clamp(min=0)[..., None].expand_as(y))
        newest = count + torch.arange(kernel - 1, device=x.device)  # (batch, kernel - 1), in state followed by valid
        final = torch.cat([state, valid], 1).gather(1, newest[..., None].expand_as(state))
    if reset is not None:
        age = torch.arange(kernel - 1, 0, -1, device=x.device)  # the newest input has age 1
        final = final.where((age <= fresh[:, -1:])[..., None], 0)
    return y.to(out), final
