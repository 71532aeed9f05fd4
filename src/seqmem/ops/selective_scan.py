"""Mamba's selective scan:  h_t = exp(dt_t A) * h_{t-1} + dt_t u_t B_t,   y_t = <C_t, h_t>."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops._dispatch import Backend


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
    return torch.stack(outputs, 1), h


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

    u, dt: (batch, time, channels), dt >= 0; A: (channels, state), negative; B, C: (batch, time, state); h0: (batch, channels, state),
    default zero; reset: (batch, time) bool, True empties the state before that step. A step with dt = 0 leaves the state as it is.
    Returns (y (batch, time, channels), final state (batch, channels, state)). The skip term D*u and the gate belong to the layer.
    """
    raise NotImplementedError
