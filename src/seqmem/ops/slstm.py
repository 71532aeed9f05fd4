"""The LSTM with exponential gates, given what the input contributes to them.

c' = f c + i tanh(z)     n' = f n + i     h' = s(o) c' / n',     i = exp(i~), f = s(f~) or exp(f~)

with z, i~, f~, o = x + R h, R block-diagonal over heads. What is stored is c and n over exp(m), m the largest exponent
so far: m' = max(log f + m, i~).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape
from seqmem.ops.lstm import emptied, held
from seqmem.ops.running_softmax import weight as relative

FORGET = ("sigmoid", "exponential")


class SLSTMState(NamedTuple):
    """hidden, cell, normaliser, maximum: (batch, heads, head) each. Nothing read: 0, 0, 0, -inf."""

    hidden: Tensor
    cell: Tensor
    normaliser: Tensor
    maximum: Tensor


def slstm_reference(
    x: Tensor,
    weight: Tensor,
    state: SLSTMState,
    forget: str,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, SLSTMState]:
    """The equations as a loop over time, on any device and dtype. Shapes as in :func:`slstm`."""
    heads, head = weight.shape[0], weight.shape[2]
    (h, c, n, m), outputs = (part.flatten(1) for part in state), []  # (batch, heads * head)
    for t in range(x.shape[1]):
        h, c, n = (emptied(reset, t, part) for part in (h, c, n))
        m = m if reset is None else m.masked_fill(reset[:, t, None], -torch.inf)
        recurrent = torch.einsum("bhi,hoi->bho", h.unflatten(-1, (heads, head)), weight)
        gates = x[:, t] + recurrent.unflatten(-1, (4, head))  # (batch, heads, 4, head)
        z, i, f, o = (gate.flatten(1) for gate in gates.unbind(2))
        kept = (F.logsigmoid(f) if forget == "sigmoid" else f) + m
        largest = torch.maximum(kept, i)
        keep, write = relative(kept, largest), relative(i, largest)
        new_c, new_n = keep * c + write * torch.tanh(z), keep * n + write
        new_h = torch.sigmoid(o) * new_c / torch.where(new_n == 0, 1, new_n)
        h, c, n, m = (held(mask, t, a, b) for a, b in ((new_h, h), (new_c, c), (new_n, n), (largest, m)))
        outputs.append(h.unflatten(-1, (heads, head)))
    y = torch.stack(outputs, 1) if outputs else x[..., 0, :]
    return y, SLSTMState(*(part.unflatten(-1, (heads, head)) for part in (h, c, n, m)))


def slstm(
    x: Tensor,
    weight: Tensor,
    state: SLSTMState | tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    *,
    forget: Literal["sigmoid", "exponential"] = "sigmoid",
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, SLSTMState]:
    """The sLSTM (xLSTM: Extended Long Short-Term Memory, 2024, arXiv 2405.04517).

    x: (batch, time, heads, 4, head), what input and bias contribute to z, i, f and o; weight: (heads, 4 * head, head),
    R of every head, in the same order; state: :class:`SLSTMState`, default nothing read; forget: how f comes from its
    input. mask: (batch, time) bool, False at padding, which leaves the state as it is (and returns its h); reset:
    (batch, time) bool, True empties the state before that step. Safe for gates of any size. bfloat16 and float16 are
    computed in float32.
    Returns (h (batch, time, heads, head) in x's dtype, final state).
    """
    if x.dim() != 5 or x.shape[3] != 4:
        raise InputError(f"slstm: x has shape {tuple(x.shape)}, expected (batch, time, heads, 4, head)")
    if forget not in FORGET:
        raise InputError(f"slstm: forget is {forget!r}, expected 'sigmoid' or 'exponential'")
    batch, time, heads, _, head = x.shape
    expect_shape("slstm", "weight", weight, "heads, 4 * head, head", heads, 4 * head, head)
    for name, part in zip(SLSTMState._fields, state or (None,) * 4, strict=True):
        expect_shape("slstm", name, part, "batch, heads, head", batch, heads, head)
    expect_flags("slstm", "mask", mask, batch, time)
    expect_flags("slstm", "reset", reset, batch, time)
    given = () if state is None else tuple(state)
    out, dtype = x.dtype, computed_in(common_dtype("slstm", x, weight, *given))
    path = choose("slstm", backend, time, x, weight, *given)
    x, weight = x.to(dtype), weight.to(dtype)
    zero = x.new_zeros(batch, heads, head)
    start = (
        SLSTMState(zero, zero, zero, zero - torch.inf) if state is None else SLSTMState(*(s.to(dtype) for s in state))
    )
    if path == "numba" and x.numel() > 0:
        from seqmem.ops._slstm_numba import scan

        y, *last = scan(x, weight, *start, forget == "exponential", mask, reset)
        return y.to(out), SLSTMState(*last[:4])
    y, final = slstm_reference(x, weight, start, forget, mask, reset)
    return y.to(out), final
