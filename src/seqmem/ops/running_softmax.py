"""Softmax attention of one fixed query as a recurrence:  o_t = sum_{j<=t} exp(s_j) v_j / sum_{j<=t} exp(s_j)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


class SoftmaxState(NamedTuple):
    """Sums relative to the largest score so far: exp(s_j - maximum) and exp(s_j - maximum) v_j, over all j read.

    maximum, denominator: (batch, heads); numerator: (batch, heads, value). Nothing read: -inf, 0, 0.
    """

    maximum: Tensor
    denominator: Tensor
    numerator: Tensor


def nothing_read(v: Tensor, dtype: torch.dtype) -> SoftmaxState:
    """The empty state for values v (batch, time, heads, value)."""
    batch, _, heads, value = v.shape
    zero = v.new_zeros(batch, heads, dtype=dtype)
    return SoftmaxState(zero - torch.inf, zero, v.new_zeros(batch, heads, value, dtype=dtype))


def weight(score: Tensor, maximum: Tensor) -> Tensor:
    """exp(score - maximum), 0 where the score is -inf, also where the maximum is -inf too."""
    nothing = score == -torch.inf
    return torch.where(nothing, 0, (score - maximum.masked_fill(nothing, 0)).exp())


def running_softmax_reference(
    s: Tensor, v: Tensor, state: SoftmaxState, reset: Tensor | None = None
) -> tuple[Tensor, SoftmaxState]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`running_softmax`."""
    (m, u, w), outputs = state, []
    for t in range(v.shape[1]):
        if reset is not None:
            r = reset[:, t, None]
            m, u, w = m.masked_fill(r, -torch.inf), u.masked_fill(r, 0), w.masked_fill(r[..., None], 0)
        largest = torch.maximum(m, s[:, t])
        keep, write = weight(m, largest), weight(s[:, t], largest)  # (batch, heads)
        m, u = largest, keep * u + write
        w = keep[..., None] * w + write[..., None] * v[:, t]  # (batch, heads, value)
        outputs.append(w / torch.where(u == 0, 1, u)[..., None])
    return (torch.stack(outputs, 1) if outputs else v), SoftmaxState(m, u, w)


def running_softmax(
    s: Tensor,
    v: Tensor,
    state: SoftmaxState | tuple[Tensor, Tensor, Tensor] | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, SoftmaxState]:
    """The many-to-many recurrence of Aaren (Attention as an RNN, 2024, arXiv 2405.13956).

    s: (batch, time, heads) scores, of any size, -inf for a position that is not to be seen; v: (batch, time, heads,
    value); state: :class:`SoftmaxState`, default nothing read; reset: (batch, time) bool, True empties the state
    before that step. Safe for any scores: everything is kept relative to the largest so far. Where nothing was seen yet
    the output is 0. bfloat16 and float16 are computed in float32, and their final state stays in it.
    Returns (o (batch, time, heads, value) in v's dtype, final state). Gradients pass through both and through the
    initial state, its maximum included.
    """
    if v.dim() != 4:
        raise InputError(f"running_softmax: v has shape {tuple(v.shape)}, expected (batch, time, heads, value)")
    batch, time, heads, value = v.shape
    expect_shape("running_softmax", "s", s, "batch, time, heads", batch, time, heads)
    expect_flags("running_softmax", "reset", reset, batch, time)
    if state is not None:
        for name, x, sizes in zip(SoftmaxState._fields, state, ((), (), (value,)), strict=True):
            dims = "batch, heads" + ", value" * len(sizes)
            expect_shape("running_softmax", name, x, dims, batch, heads, *sizes)
    given = () if state is None else tuple(state)
    out, dtype = v.dtype, computed_in(common_dtype("running_softmax", s, v, *given))
    path = choose("running_softmax", backend, time, s, v, *given)
    s, v = s.to(dtype), v.to(dtype)
    start = nothing_read(v, dtype) if state is None else SoftmaxState(*(x.to(dtype) for x in state))
    if path == "numba" and v.numel() > 0:
        from seqmem.ops._running_softmax_numba import scan

        o, m, u, w, _, _ = scan(s, v, *start, reset)
        return o.to(out), SoftmaxState(m, u, w)
    o, last = running_softmax_reference(s, v, start, reset)
    return o.to(out), last
