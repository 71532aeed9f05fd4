"""Pieces of different lengths, put one after the other into rows of one length."""

from __future__ import annotations

import torch
from torch import Tensor


def that_fit(present: Tensor, length: int) -> Tensor:
    """present (rows, piece, step), True where a piece has a step: the same, of the first pieces that fit into
    ``length`` together."""
    return present & (present.sum(2).cumsum(1) <= length)[:, :, None]


def at_the_end(pieces: Tensor, present: Tensor, length: int, fill: int) -> Tensor:
    """The present steps of all pieces (rows, piece, step), in their order, at the end of rows of ``length`` that begin
    with ``fill``: (rows, length)."""
    flat, taken = pieces.flatten(1), present.flatten(1)
    place = taken.long().cumsum(1) - 1 + length - taken.sum(1, keepdim=True)
    row = torch.full((len(flat), length + 1), fill)  # what is not present goes behind the end
    return row.scatter_(1, place.masked_fill(~taken, length), flat)[:, :length].contiguous()
