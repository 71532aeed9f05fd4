"""Mamba's selective scan:  h_t = exp(dt_t A) * h_{t-1} + dt_t u_t B_t,   y_t = <C_t, h_t>."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


def selective_scan_reference(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`selective_scan`."""
    h, outputs = h0, []
    for t in range(u.shape[1]):
        if reset is not None:
            h = torch.where(reset[:, t, None, None], torch.zeros_like(h), h)
        decay = torch.exp(dt[:, t, :, None] * A)  # (batch, channels, state)
        h = decay * h + (dt[:, t] * u[:, t])[..., None] * B[:, t, None, :]
        outputs.append((h * C[:, t, None, :]).sum(-1))
    return (torch.stack(outputs, 1) if outputs else u), h


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Mamba's recurrence (Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, arXiv 2312.00752).

    u, dt: (batch, time, channels), dt >= 0; A: (channels, state), negative; B, C: (batch, time, state);
    h0: (batch, channels, state), default zero; reset: (batch, time) bool, True empties the state before that step. A
    step with dt = 0 leaves the state as it is. bfloat16 and float16 are computed in float32.
    Returns (y (batch, time, channels) in u's dtype, final state (batch, channels, state), in float32 for half inputs).
    The skip term D*u and the gate belong to the layer.
    """
    if u.dim() != 3 or A.dim() != 2:
        raise InputError(
            f"selective_scan: u has shape {tuple(u.shape)} and A {tuple(A.shape)}, "
            "expected (batch, time, channels) and (channels, state)"
        )
    (batch, time, channels), state = u.shape, A.shape[1]
    expect_shape("selective_scan", "dt", dt, "batch, time, channels", batch, time, channels)
    expect_shape("selective_scan", "A", A, "channels, state", channels, state)
    expect_shape("selective_scan", "B", B, "batch, time, state", batch, time, state)
    expect_shape("selective_scan", "C", C, "batch, time, state", batch, time, state)
    expect_shape("selective_scan", "h0", h0, "batch, channels, state", batch, channels, state)
    expect_flags("selective_scan", "reset", reset, batch, time)
    path = choose("selective_scan", backend, time, u, dt, A, B, C, h0)
    if path == "step":
        from seqmem.ops._step import selective_step

        return selective_step(u, dt, A, B, C, h0, reset)
    out, dtype = u.dtype, computed_in(common_dtype("selective_scan", u, dt, A, B, C, h0))
    u, dt, A, B, C = (x.to(dtype) for x in (u, dt, A, B, C))
    h0 = u.new_zeros(batch, channels, state) if h0 is None else h0.to(dtype)
    if path == "numba" and u.numel() * state > 0:
        from seqmem.ops._selective_scan_numba import scan

        keep = torch.is_grad_enabled() and any(x.requires_grad for x in (u, dt, A, B, C, h0))
        y, final, _ = scan(u, dt, A, B, C, h0, reset, keep)
    else:
        y, final = selective_scan_reference(u, dt, A, B, C, h0, reset)
    return y.to(out), final
