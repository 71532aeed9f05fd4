"""Runs torch's recurrent kernels over rows with padding and resets, without a loop over time.

Every row is cut at its resets into documents, padding is left out, and documents of about the same length, to a factor
of two, run side by side: at most 1 + log2(time) calls of the kernel, over at most twice the real positions. Only the
first document of a row starts from the row's state. (Torch's own packed sequences would do, but the backward pass of
its LSTM takes time quadratic in their length on a CPU.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

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

    engine: one layer, one direction, batch first. cell: the same equations for one step, cheaper when time is 1. Under
    autocast all of it runs in the dtype of the weights, since the rounding errors of a state add up over time.
    """
    weights = engine.all_weights[0]
    if torch.is_autocast_enabled(x.device.type):
        dtype = weights[0].dtype
        with torch.autocast(x.device.type, enabled=False):
            h, state = run_documents(engine, cell, x.to(dtype), tuple(part.to(dtype) for part in state), mask, reset)
        return h.to(x.dtype), state
    if x.shape[1] == 1:
        h, state = _one_step(weights, cell, x[:, 0], state, mask, reset)
        return h[:, None].clone(), state  # y may be changed in place, the state not
    if mask is None and reset is None:
        return _call(engine, x, state)
    return _by_length(engine, x, state, mask, reset)


def _call(engine: nn.RNNBase, x: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
    first = tuple(part[None] for part in state)  # torch wants (layers = 1, batch, hidden)
    y, last = engine(x, first if len(first) > 1 else first[0])
    return y, tuple(part[0] for part in (last if isinstance(last, tuple) else (last,)))


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


def _by_length(
    engine: nn.RNNBase, x: Tensor, state: Hidden, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Hidden]:
    batch, time, _ = x.shape
    number = x.new_zeros(batch, time, dtype=torch.int64) if reset is None else reset.cumsum(1)  # of the document
    final = tuple(part.masked_fill((number[:, -1:] > 0), 0) for part in state)  # for rows whose last document is empty
    y = x.new_zeros(batch * time, engine.hidden_size)

    # The real positions, row after row, and the document each belongs to: (tokens,)
    place = torch.arange(batch * time, device=x.device) if mask is None else mask.flatten().nonzero()[:, 0]
    row, number_at = place // time, number.flatten()[place]
    begins = torch.ones_like(place, dtype=torch.bool)
    begins[1:] = (row[1:] != row[:-1]) | (number_at[1:] != number_at[:-1])
    start = begins.nonzero()[:, 0]  # (documents,)
    length = torch.diff(start, append=start.new_tensor([len(place)]))
    owner, number_of = row[start], number_at[start]
    is_first, is_last = number_of == 0, number_of == number[owner, -1]

    size = length.double().log2().ceil().long()
    for at_most in size.unique().tolist():  # documents of 2^(at_most - 1) < length <= 2^at_most
        these = (size == at_most).nonzero()[:, 0]
        step = torch.arange(int(length[these].max()), device=x.device)
        real = step < length[these, None]  # (documents, steps)
        # Behind the end of a document any token will do: nothing looks there.
        within = (start[these, None] + step).clamp(max=len(place) - 1)
        token = place[within]
        xs = x.flatten(0, 1).index_select(0, token.flatten()).unflatten(0, token.shape)  # (documents, steps, width)
        begin = tuple(part[owner[these]].masked_fill(~is_first[these, None], 0) for part in state)
        ys, ends = _padded(engine, xs, begin, real)
        y = y.index_copy(0, token[real], ys[real])
        last = is_last[these]
        final = tuple(f.index_copy(0, owner[these][last], e[last]) for f, e in zip(final, ends, strict=True))
    return y.unflatten(0, (batch, time)), final


def _padded(engine: nn.RNNBase, x: Tensor, state: Hidden, real: Tensor) -> tuple[Tensor, Hidden]:
    """y (documents, steps, hidden) and the state after the last real step, for documents padded at their end."""
    if isinstance(engine, nn.LSTM):
        # The kernel returns the cell after the last step only. One more input, 1 at padding, shuts the input gate and
        # opens the forget gate there, both exactly, so that the cell stays as the last real step left it.
        w, u, b, c = engine.all_weights[0]
        hold = x.new_tensor([-1e4, 1e4, 0, 0]).repeat_interleave(engine.hidden_size)  # gates i, f, g, o
        flagged = torch.cat([x, (~real)[..., None].to(x.dtype)], -1)
        start = [part[None] for part in state]
        y, _, cell = torch.lstm(
            flagged, start, [torch.cat([w, hold[:, None]], 1), u, b, c], True, 1, 0.0, engine.training, False, True
        )
        rest: Hidden = (cell[0],)
    else:
        y, _ = _call(engine, x, state)
        rest = ()
    last = real.sum(1) - 1
    return y, (y[torch.arange(len(y), device=y.device), last], *rest)
