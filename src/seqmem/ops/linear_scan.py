"""The diagonal linear recurrence  h_t = a_t * h_{t-1} + b_t  (per channel)."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops._dispatch import Backend


def linear_scan_reference(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`linear_scan`; returns every h."""
    h, states = h0, []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


def linear_scan(
    a: Tensor, b: Tensor, h0: Tensor | None = None, *, reset: Tensor | None = None, log: bool = False, backend: Backend = "auto"
) -> tuple[Tensor, Tensor]:
    """h_t = a_t * h_{t-1} + b_t.

    a: (batch, time, channels) gates, or their logarithms when ``log`` (real only). b: (batch, time, channels). h0: (batch, channels),
    default zero. reset: (batch, time) bool, True empties the state before that step. Real or complex.
    Returns (h (batch, time, channels), final state (batch, channels)).
    """
    raise NotImplementedError
