"""A complex diagonal recurrence whose state is kept in real numbers: (..., 2), the real and the imaginary part."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqmem.mixers._shared import at_padding, scan_backend
from seqmem.ops import linear_scan


def scan(
    decay: Tensor, write: Tensor, hidden: Tensor, *, mask: Tensor | None, reset: Tensor | None, form: str
) -> tuple[Tensor, Tensor]:
    """h_t = decay_t h_{t-1} + write_t, complex.

    decay: (channels,) or (batch, time, channels); write: (batch, time, channels), both complex; hidden: (batch,
    channels, 2), real. Returns (h (batch, time, channels) complex, the last one as (batch, channels, 2)).
    """
    decay, write = at_padding(decay.expand_as(write), mask, 1), at_padding(write, mask, 0)
    start = torch.view_as_complex(wide(hidden).contiguous())
    h, last = linear_scan(decay, write, start, reset=reset, backend=scan_backend(form))
    return h, torch.view_as_real(last)


def wide(x: Tensor) -> Tensor:
    """``x`` in float32 at least: there are no complex numbers of half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def into_complex(linear: nn.Linear, x: Tensor) -> Tensor:
    """(..., features) -> (..., channels) complex: the outputs of ``linear`` are real and imaginary parts in turn."""
    return torch.view_as_complex(wide(linear(x).to(linear.weight.dtype)).unflatten(-1, (-1, 2)))


def real_part_of(linear: nn.Linear, h: Tensor) -> Tensor:
    """Re(C h), (..., channels) complex -> (..., features): ``linear`` holds Re C and -Im C in turn."""
    return linear(torch.view_as_real(h).flatten(-2).to(linear.weight.dtype))


def log_uniform(size: int, low: float, high: float) -> Tensor:
    """(size,) logarithms of numbers that are log-uniform between ``low`` and ``high``."""
    return torch.empty(size).uniform_(math.log(low), math.log(high))


def zero_order_hold(eigenvalue: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """x' = lambda x + u, u held over a step: (exp(lambda dt), (exp(lambda dt) - 1) / lambda), both complex."""
    decay = torch.exp(eigenvalue * step)
    return decay, (decay - 1) / eigenvalue
