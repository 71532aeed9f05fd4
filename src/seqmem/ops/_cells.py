"""What the nonlinear cells share.

Time runs in Python: the recurrent product is a matrix product of torch's, into memory that was there before, and the
rest of a step is one kernel. Everything lies time first, so that a step is contiguous, and the gradient of the
recurrent weights is one product at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def flags_by_time(x: Tensor | None) -> Any:
    """(time, batch) uint8 of flags (batch, time), or (0, 0) for None."""
    return np.empty((0, 0), np.uint8) if x is None else np.ascontiguousarray(x.numpy().T).view(np.uint8)


def padding_by_time(mask: Tensor | None) -> Any:
    """(time, batch) uint8, 1 where a position is padding, or (0, 0) for None."""
    return flags_by_time(None if mask is None else ~mask)
