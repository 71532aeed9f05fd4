"""What is left at one position of something written at another."""

from __future__ import annotations

import torch
from torch import Tensor


def decay_matrix(log_decay: Tensor) -> Tensor:
    """(..., time) -> (..., time, time): what is left at t of one written at j,  exp(g_{j+1} + ... + g_t) for j <= t,
    else 0.

    Every sum is taken on its own, not as a difference of two long sums, so that nothing cancels; g = -inf forgets
    everything.
    """
    time = log_decay.shape[-1]
    below = torch.ones(time, time, dtype=torch.bool, device=log_decay.device).tril(-1)
    terms = log_decay[..., :, None].masked_fill(~below, 0)  # (..., t, j): g_t where j < t
    return terms.cumsum(-2).exp().tril()
