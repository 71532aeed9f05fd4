"""What small networks that are trained on recall share."""

from __future__ import annotations

from typing import Any

import torch

from seqmem.models import SequenceLM


@torch.no_grad()
def look_back_evenly(lm: SequenceLM) -> None:
    """Short convolutions that begin as the mean of the present position and the one before: what follows a token is
    like the token, before anything is learned, so that what was said of it is found from the start.
    """
    for block in lm.layers:
        conv: Any = block.conv
        conv.weight.zero_()
        conv.weight[:, -2:] = 0.5
