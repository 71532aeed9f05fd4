"""What the nonlinear cells share.

Time runs in Python: the recurrent product is a matrix product of torch's, into memory that was there before, and the
rest of a step is one kernel. Everything lies time first, so that a step is contiguous, and the gradient of the
recurrent weights is one product at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from torch import Tensor

from seqmem.ops._math import exp


@njit(inline="always")
def sigmoid(x, one):  # type: ignore[no-untyped-def]  # one: of the dtype of x
    return one / (one + exp(-x))


@njit(inline="always")
def tanh(x, one):  # type: ignore[no-untyped-def]
    return (one + one) / (one + exp(-(x + x))) - one


def flags_by_time(x: Tensor | None) -> Any:
    """(time, batch) uint8 of flags (batch, time), or (0, 0) for None."""
    return np.empty((0, 0), np.uint8) if x is None else np.ascontiguousarray(x.numpy().T).view(np.uint8)


def padding_by_time(mask: Tensor | None) -> Any:
    """(time, batch) uint8, 1 where a position is padding, or (0, 0) for None."""
    return flags_by_time(None if mask is None else ~mask)
