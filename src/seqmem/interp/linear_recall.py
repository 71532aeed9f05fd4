"""How far back a linear look at a state sees: the past inputs, read out of it by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmem.errors import InputError


def linear_recall(states: Tensor, inputs: Tensor, lags: Sequence[int], *, penalty: float = 1e-6) -> Tensor:
    """The share of the variance of what was read ``lag`` steps ago that a linear map of the state gives back, on rows
    that it was not fitted to; (lags,), 1 where all of it is there, about 0 (or below) where none is.

    states: (batch, time, ...), after every position; inputs: (batch, time, ...), numbers (one-hot for tokens).
    The first half of the rows fits, the second is judged; the ridge ``penalty`` is relative to the states' mean square.
    Jaeger's memory function: Short Term Memory in Echo State Networks (2001), GMD report 152.
    """
    rows, time = states.shape[:2]
    if rows < 2 or inputs.shape[:2] != states.shape[:2] or not all(0 <= lag < time for lag in lags):
        raise InputError(
            f"states {tuple(states.shape)}, inputs {tuple(inputs.shape)}, lags {list(lags)}; expected the same rows "
            "and steps, at least 2 rows, and lags below the number of steps"
        )
    s, x = (
        part.detach().double().flatten(2) if part.ndim > 2 else part.detach().double()[..., None]
        for part in (states, inputs)
    )
    found = []
    for lag in lags:
        now, then = s[:, lag:], x[:, : time - lag]
        fit, judge = (
            (now[half].flatten(0, 1), then[half].flatten(0, 1)) for half in (slice(rows // 2), slice(rows // 2, None))
        )
        mean_s, mean_x = fit[0].mean(0), fit[1].mean(0)
        a = fit[0] - mean_s
        gram = a.mT @ a
        ridge = penalty * gram.diagonal().mean() + torch.finfo(gram.dtype).tiny
        weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), a.mT @ (fit[1] - mean_x))
        wrong = judge[1] - mean_x - (judge[0] - mean_s) @ weight
        found.append(1 - wrong.square().sum() / (judge[1] - judge[1].mean(0)).square().sum())
    return torch.stack(found)
