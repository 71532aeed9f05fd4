"""Padding and documents inside a batch, for layers whose kernels know neither.

A position that is padding must be as if it were not there. So every row is reordered: its real positions first, in
their order, the padding behind them, where a causal layer never looks back at it. Documents (what lies between two
resets) are told apart by a number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.base import Mixer
from seqmem.mixers.state import State, tensors


class Packing(NamedTuple):
    """What :func:`pack` found. ``None`` stands for the plain case, in which there is nothing to do."""

    order: Tensor | None  # (batch, time) int64: which position comes t-th; None when nothing is padding
    real: Tensor | None  # (batch, time) bool, in the new order: not padding; None when all are real
    document: Tensor | None  # (batch, time) int64, in the new order: resets up to here; None without resets
    last: Tensor | None  # (batch,) int64: resets in the whole row, also those behind its last real position


def pack(mask: Tensor | None, reset: Tensor | None) -> Packing:
    """Plan the reordering from ``mask`` and ``reset`` of a mixer's call, (batch, time) bool or None."""
    order = real = document = last = None
    if reset is not None:
        document = reset.cumsum(1)
        last = document[:, -1]
    if mask is not None:
        order = torch.argsort(~mask, dim=1, stable=True)
        real = mask.gather(1, order)
        if document is not None:
            document = document.gather(1, order)
    return Packing(order, real, document, last)


def to_front(packing: Packing, x: Tensor) -> Tensor:
    """x (batch, time, width) in the new order; padding becomes zero, whatever stood there."""
    if packing.order is None or packing.real is None:
        return x
    index = packing.order[..., None].expand_as(x)
    return x.gather(1, index).masked_fill(~packing.real[..., None], 0)


def to_place(packing: Packing, y: Tensor) -> Tensor:
    """The inverse of :func:`to_front`: every position of y (batch, time, width) back where it came from."""
    if packing.order is None:
        return y
    return torch.empty_like(y).scatter(1, packing.order[..., None].expand_as(y), y)


def matrix_to_place(packing: Packing, weights: Tensor) -> Tensor:
    """Rows and columns of (batch, heads, time, time) weights, in packed order, back where they came from."""
    if packing.order is None:
        return weights
    back = packing.order.argsort(1)[:, None]  # where each position went, (batch, 1, time)
    rows = weights.gather(2, back[..., None].expand_as(weights))
    return rows.gather(3, back[:, :, None].expand_as(weights))


def check_state(state: State, x: Tensor, owner: str) -> None:
    """Raise InputError when ``state`` belongs to a batch of another size than x."""
    if state is not None:
        sizes = {part.shape[0] for part in tensors(state)}
        if sizes != {x.shape[0]}:
            raise InputError(
                f"{owner}: the state holds {sorted(sizes)} rows, expected {x.shape[0]}, the batch size of x"
            )


def one_at_a_time(
    mixer: Mixer, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Any]:
    """The recurrent form of any mixer: one call per position, the state handed on. Slow; for tests and teaching."""
    ys = []
    for t in range(x.shape[1]):
        now = slice(t, t + 1)
        y, state = mixer(
            x[:, now],
            state,
            mask=None if mask is None else mask[:, now],
            reset=None if reset is None else reset[:, now],
        )
        ys.append(y)
    return torch.cat(ys, 1), state
