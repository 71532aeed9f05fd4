"""The diagonal linear recurrence  h_t = a_t * h_{t-1} + b_t  (per channel)."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


def linear_scan_reference(
    a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None = None, log: bool = False
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`linear_scan`."""
    h, states = h0, []
    for t in range(b.shape[1]):
        if reset is not None:
            h = torch.where(reset[:, t, None], torch.zeros_like(h), h)
        gate = a[:, t].exp() if log else a[:, t]
        h = gate * h + b[:, t]
        states.append(h)
    return (torch.stack(states, 1) if states else b), h


def linear_scan(
    a: Tensor,
    b: Tensor,
    h0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    log: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """h_t = a_t * h_{t-1} + b_t.

    a: (batch, time, channels) gates, or their logarithms when ``log`` (real only). b: (batch, time, channels).
    h0: (batch, channels), default zero. reset: (batch, time) bool, True empties the state before that step. Real or
    complex; bfloat16 and float16 are computed in float32.
    Returns (h (batch, time, channels) in the inputs' dtype, final state (batch, channels), in float32 for half inputs).
    """
    if b.dim() != 3:
        raise InputError(f"linear_scan: b has shape {tuple(b.shape)}, expected (batch, time, channels)")
    batch, time, channels = b.shape
    expect_shape("linear_scan", "a", a, "batch, time, channels", batch, time, channels)
    expect_shape("linear_scan", "h0", h0, "batch, channels", batch, channels)
    expect_flags("linear_scan", "reset", reset, batch, time)
    if log and (a.is_complex() or b.is_complex()):
        raise InputError("linear_scan: log=True with complex inputs, expected real ones; pass a.exp() with log=False")
    out = common_dtype("linear_scan", a, b)
    dtype = computed_in(common_dtype("linear_scan", a, b, h0))
    path = choose("linear_scan", backend, time, a, b, h0)
    b = b.to(dtype)
    a = a.to(dtype)
    h0 = b.new_zeros(batch, channels) if h0 is None else h0.to(dtype)
    if path == "numba" and b.numel() > 0:
        from seqmem.ops._linear_scan_numba import scan

        h, final = scan(a, b, h0, reset, log)
    else:
        h, final = linear_scan_reference(a, b, h0, reset, log)
    return h.to(out), final
