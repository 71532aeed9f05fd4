"""What small networks that are trained on recall share."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def look_back_evenly(conv: Any) -> None:
    """A short convolution that begins as the mean of the present position and the one before: what follows a token is
    like the token, before anything is learned, so that what was said of it is found from the start.
    """
    conv.weight.zero_()
    conv.weight[:, -2:] = 0.5
