"""RWKV-4's weighted average:  o_t = (sum_{j<t} exp(k_j + (t-1-j) g) v_j + exp(k_t + bonus) v_t) / (the same without v).

Per channel: a running softmax whose weights decay, in which the present position has a bonus that it loses afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape
from seqmem.ops.running_softmax import SoftmaxState, weight


def wkv_reference(
    k: Tensor, v: Tensor, g: Tensor, bonus: Tensor, state: SoftmaxState, reset: Tensor | None = None
) -> tuple[Tensor, SoftmaxState]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`wkv`."""
    (m, u, w), outputs = state, []
    for t in range(k.shape[1]):
        if reset is not None:
            r = reset[:, t, None]
            m, u, w = m.masked_fill(r, -torch.inf), u.masked_fill(r, 0), w.masked_fill(r, 0)
        now = k[:, t] + bonus
        largest = torch.maximum(m, now)
        past, present = weight(m, largest), weight(now, largest)  # (batch, channels)
        total = past * u + present
        outputs.append((past * w + present * v[:, t]) / torch.where(total == 0, 1, total))
        largest = torch.maximum(m + g, k[:, t])
        keep, write = weight(m + g, largest), weight(k[:, t], largest)
        m, u, w = largest, keep * u + write, keep * w + write * v[:, t]
    return (torch.stack(outputs, 1) if outputs else v), SoftmaxState(m, u, w)


def wkv(
    k: Tensor,
    v: Tensor,
    g: Tensor,
    bonus: Tensor,
    state: SoftmaxState | tuple[Tensor, Tensor, Tensor] | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, SoftmaxState]:
    """The time mixing of RWKV-4 (RWKV: Reinventing RNNs for the Transformer Era, 2023, arXiv 2305.13048).

    k, v: (batch, time, channels); g: (channels,), the logarithm of the decay per step, <= 0 (-w in the paper); bonus:
    (channels,) (u in the paper); state: :class:`SoftmaxState` of (batch, channels) each, default nothing read; reset:
    (batch, time) bool, True empties the state before that step. Safe for keys of any size; k = -inf writes nothing.
    bfloat16 and float16 are computed in float32, and their final state stays in it.
    Returns (o (batch, time, channels) in v's dtype, final state). Gradients pass through both and the initial state.
    """
    if v.dim() != 3:
        raise InputError(f"wkv: v has shape {tuple(v.shape)}, expected (batch, time, channels)")
    batch, time, channels = v.shape
    expect_shape("wkv", "k", k, "batch, time, channels", batch, time, channels)
    expect_shape("wkv", "g", g, "channels", channels)
    expect_shape("wkv", "bonus", bonus, "channels", channels)
    expect_flags("wkv", "reset", reset, batch, time)
    for name, x in zip(SoftmaxState._fields, state or (None, None, None), strict=True):
        expect_shape("wkv", name, x, "batch, channels", batch, channels)
    given = () if state is None else tuple(state)
    out, dtype = v.dtype, computed_in(common_dtype("wkv", k, v, g, bonus, *given))
    path = choose("wkv", backend, time, k, v, g, bonus, *given)
    k, v, g, bonus = (x.to(dtype) for x in (k, v, g, bonus))
    zero = v.new_zeros(batch, channels)
    start = SoftmaxState(zero - torch.inf, zero, zero) if state is None else SoftmaxState(*(x.to(dtype) for x in state))
    if path == "numba" and v.numel() > 0:
        from seqmem.ops._wkv_numba import scan

        o, m, u, w, *_ = scan(k, v, g, bonus, *start, reset)
        return o.to(out), SoftmaxState(m, u, w)
    o, last = wkv_reference(k, v, g, bonus, start, reset)
    return o.to(out), last
