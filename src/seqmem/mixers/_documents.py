"""Runs torch's recurrent kernels over rows with padding and resets, without a loop over time.

Every row is cut at its resets into documents, padding is left out, and all documents of the batch run side by side as one packed batch. Only
the first document of a row starts from the row's state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqmem.errors import InputError

Hidden = tuple[Tensor, ...]  # each (batch, hidden): one for RNN and GRU, hidden and cell for LSTM
Weights = Sequence[Tensor]  # input weight, hidden weight, input bias, hidden bias, as torch orders them
Cell = Callable[[Tensor, Hidden, Weights], Hidden]  # one step, x (batch, width)


def hidden_size(hidden: int | None, width: int, owner: str) -> int:
    """``hidden``, by default ``width``; InputError unless a whole number of at least 1."""
    if hidden is None:
        return width
    if not isinstance(hidden, int) or isinstance(hidden, bool) or hidden < 1:
        raise InputError(f"{owner}: hidden is {hidden!r}, expected None (= width) or a whole number of at least 1")
    return hidden


def run_documents(
    engine: nn.RNNBase, cell: Cell, x: Tensor, state: Hidden, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Hidden]:
    """(every hidden vector (batch, time, hidden), state after the last position); zeros stand at padding.

    engine: one layer, one direction, batch first. cell: the same equations for one step, which is cheaper when time is 1. Computed in the
    dtype of the weights, also under autocast, since the state adds up over time.
    """
    weights, given = engine.all_weights[0], x.dtype
    dtype = weights[0].dtype
    with torch.autocast(x.device.type, enabled=False):
        x, state = x.to(dtype), tuple(part.to(dtype) for part in state)
        if x.shape[1] == 1:
            h, state = _one_step(weights, cell, x[:, 0], state, mask, reset)
            h = h[:, None].clone()  # y may be changed in place, the state not
        elif mask is None and reset is None:
            h, state = _call(engine, x, state)
        else:
            h, state = _packed(engine, x, state, mask, reset)
    return h.to(given), state


def _call(engine: nn.RNNBase, x: Tensor | PackedSequence, state: Hidden) -> tuple[Tensor, Hidden]:
    first = tuple(part[None] for part in state)  # torch wants (layers = 1, batch, hidden)
    y, last = engine(x, first if len(first) > 1 else first[0])
    last = last if isinstance(last, tuple) else (last,)
    return (y.data if isinstance(y, PackedSequence) else y), tuple(part[0] for part in last)


def _one_step(
    weights: Weights, cell: Cell, x: Tensor, state: Hidden, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Hidden]:
    # mask and reset: (batch, 1), which broadcasts over the channels
    if reset is not None:
        state = tuple(part.masked_fill(reset, 0) for part in state)
    if mask is None:
        state = cell(x, state, weights)
        return state[0], state
    new = cell(x.masked_fill(~mask, 0), state, weights)
    return new[0].masked_fill(~mask, 0), tuple(torch.where(mask, n, old) for n, old in zip(new, state, strict=True))


def _packed(
    engine: nn.RNNBase, x: Tensor, state: Hidden, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Hidden]:
    batch, time, _ = x.shape
    number = torch.zeros_like(x[..., 0], dtype=torch.int64) if reset is None else reset.cumsum(1)  # of the document
    last = number[:, -1]
    # Every real position, row after row, and the document it belongs to: (tokens,)
    place = torch.arange(batch * time, device=x.device) if mask is None else mask.flatten().nonzero()[:, 0]
    kept = tuple(part.masked_fill((last > 0)[:, None], 0) for part in state)  # for rows that end in no document
    if place.numel() == 0:
        return x.new_zeros(batch, time, engine.hidden_size), kept
    row, of = place // time, number.flatten()[place]
    begins = torch.ones_like(place, dtype=torch.bool)
    begins[1:] = (row[1:] != row[:-1]) | (of[1:] != of[:-1])
    document = begins.cumsum(0) - 1
    start = begins.nonzero()[:, 0]  # (documents,)
    step = torch.arange(len(place), device=x.device) - start[document]

    # Packed order: all first tokens, then all second ones, ..., within each the longest document first.
    rank = torch.bincount(document).argsort(descending=True, stable=True).argsort()  # (documents,)
    order = (step * len(start) + rank[document]).argsort()
    sizes = torch.bincount(step)  # how many documents have a token at this step
    packed = PackedSequence(x.flatten(0, 1)[place[order]], sizes.cpu())

    by_rank = rank.argsort()
    owner, first = row[start][by_rank], of[start][by_rank] == 0
    begin = tuple(torch.where(first[:, None], part[owner], 0) for part in state)
    out, end = _call(engine, packed, begin)

    y = out.new_zeros(batch * time, engine.hidden_size).index_copy(0, place[order], out).unflatten(0, (batch, time))
    final = of[start][by_rank] == last[owner]  # documents that are the last of their row
    return y, tuple(k.index_copy(0, owner[final], e[final]) for k, e in zip(kept, end, strict=True))
