"""What the nonlinear cells share.

Time runs in Python: the recurrent product is a matrix product of torch's, and the rest of a step is one kernel. It
runs in pieces of ``PIECE`` steps, whose gates and states lie time first in buffers that the next piece uses again.
Nothing of a step is kept but its output: the way back rebuilds a piece from what was read, from the outputs, whose
product with the recurrent weights is one matrix product for the whole piece, and from the state that the piece began
with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

PIECE = 64  # steps; the buffers of a piece stay in the caches


class Piece(NamedTuple):
    """Steps start ... stop - 1; ``padding`` and ``reset`` are theirs, reset's with one step more where there is one:
    (time, batch) uint8, or (0, 0) for none."""

    number: int
    start: int
    stop: int
    padding: Any
    reset: Any

    @property
    def size(self) -> int:
        return self.stop - self.start


def pieces(time: int, mask: Tensor | None, reset: Tensor | None) -> list[Piece]:
    """The pieces of a sequence, in order."""
    padding, fresh = _flags_by_time(None if mask is None else ~mask), _flags_by_time(reset)
    cuts = [(start, min(start + PIECE, time)) for start in range(0, time, PIECE)]
    return [Piece(i, a, b, padding[a:b], fresh[a : b + 1]) for i, (a, b) in enumerate(cuts)]


def _flags_by_time(x: Tensor | None) -> Any:
    return np.empty((0, 0), np.uint8) if x is None else np.ascontiguousarray(x.numpy().T).view(np.uint8)


def beginning(state: Tensor, reset: Tensor | None, nothing: float = 0.0) -> Tensor:
    """What the first step starts from: ``state`` (batch, ...), or ``nothing`` where a document begins there."""
    if reset is None:
        return state
    return state.masked_fill(reset[:, 0].view(-1, *(1,) * (state.dim() - 1)), nothing)


def states_before(piece: Piece, h0: Tensor, y: Tensor, reset: Tensor | None, into: Tensor) -> Tensor:
    """Fills and returns ``into[:size]`` (time, batch, ...): the h that each step of the piece starts from, out of the
    outputs y (batch, time, ...)."""
    before = into[: piece.size]
    before[0] = h0 if piece.start == 0 else y[:, piece.start - 1]
    before[1:] = y[:, piece.start : piece.stop - 1].transpose(0, 1)
    if reset is not None:
        fresh = reset[:, piece.start : piece.stop].mT
        before.masked_fill_(fresh.view(*fresh.shape, *(1,) * (y.dim() - 2)), 0)
    return before


def by_time(into: Tensor, x: Tensor | None, piece: Piece) -> Tensor:
    """``into[:size]``, filled with the piece of x (batch, time, ...), or with zeros for None."""
    part = into[: piece.size]
    return part.zero_() if x is None else part.copy_(x[:, piece.start : piece.stop].transpose(0, 1))


def many_empty(like: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Buffers of the dtype of ``like``."""
    return [torch.empty(shape, dtype=like.dtype, device=like.device) for shape in shapes]
