"""A matrix as memory whose decay differs from one key channel to the next, in three forms that agree:

    S_t = diag(exp g_t) S_{t-1} + k_t v_t^T [+ b_t (S_{t-1}^T a_t)^T],   o_t = S_t^T q_t.

With a and b it is the generalised delta rule. With a bonus the read comes before the decay:
o_t = (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t. "recurrent" is the op of :mod:`seqmem.ops`; "chunk" and "parallel" are
matrix products in plain PyTorch on pieces of 16 positions, or on the whole call, where they need
(batch, heads, key, time, time) numbers. (One decay for all channels: :mod:`seqmem.mixers._matrix_memory`.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.mixers._matrix_memory import automatic_form
from seqmem.ops import gated_linear_attention, generalized_delta_rule
from seqmem.ops._decay import decay_matrix
from seqmem.ops._matrix_state import compute_dtype

CHUNK = 16


def write_and_read_channels(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    s0: Tensor,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    bonus: Tensor | None = None,
    reset: Tensor | None,
    form: str,
) -> tuple[Tensor, Tensor]:
    """q, k, g and, together or not at all, a and b: (batch, time, heads, key); v: (batch, time, heads, value); bonus:
    (heads, key), without a and b; s0: (batch, heads, key, value); reset: (batch, time) bool or None.

    Returns (o (batch, time, heads, value) in the dtype of v, final state); half precision is computed in float32.
    """
    if form == "auto":
        op = "gated_linear_attention" if a is None else "generalized_delta_rule"
        form = automatic_form(op, q, k, v, a, b, g, s0)
    if form == "recurrent":
        if a is None or b is None:
            return gated_linear_attention(q, k, v, g, s0, bonus=bonus, reset=reset)
        return generalized_delta_rule(q, k, v, a, b, g, s0, reset=reset)

    o_dtype, dtype = v.dtype, compute_dtype(q, k, v, g, a, b, bonus, s0)
    fresh = torch.zeros_like(q[..., 0, 0], dtype=torch.bool) if reset is None else reset  # (batch, time)
    g = g.masked_fill(fresh[..., None, None], -torch.inf)
    q, k, v, g = (x.to(dtype).transpose(1, 2) for x in (q, k, v, g))  # (batch, heads, time, ...)
    a, b = (None if x is None else x.to(dtype).transpose(1, 2) for x in (a, b))
    s, outputs = s0.to(dtype), []
    step = CHUNK if form == "chunk" else q.shape[2]
    with torch.autocast(q.device.type, enabled=False):
        for start in range(0, q.shape[2], step):
            t = slice(start, start + step)
            a_t, b_t = (None if x is None else x[:, :, t] for x in (a, b))
            o, s = _one_chunk(q[:, :, t], k[:, :, t], v[:, :, t], g[:, :, t], a_t, b_t, bonus, ~fresh[:, t], s)
            outputs.append(o)
    return torch.cat(outputs, 2).transpose(1, 2).to(o_dtype), s


def _one_chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    bonus: Tensor | None,
    goes_on: Tensor,
    s: Tensor,
) -> tuple[Tensor, Tensor]:
    """One chunk at once; (batch, heads, time, ...) everywhere, goes_on: (batch, time), not a reset.

    ``now`` is what is left at t of what was written at j <= t, ``before`` the same at t - 1, before the decay of t;
    ``kept`` and ``kept_before`` what is left of ``s``.
    """
    now, kept = decay_matrix(g.mT), g.cumsum(-2).exp()  # (batch, heads, key, time, time), (batch, heads, time, key)
    same = goes_on[:, None, :, None].to(g.dtype)  # (batch, 1, time, 1)
    before = torch.cat([torch.zeros_like(now[..., :1, :]), now[..., :-1, :]], -2) * same[..., None, :, :]
    kept_before = torch.cat([torch.ones_like(kept[..., :1, :]), kept[..., :-1, :]], -2) * same
    last = now[..., -1, :].mT  # (batch, heads, time, key)

    if bonus is not None:
        present = (q * bonus[:, None] * k).sum(-1, keepdim=True)
        o = _products(q, k, before) @ v + present * v + (kept_before * q) @ s
        return o, kept[..., -1, :, None] * s + (last * k).mT @ v
    o = _products(q, k, now) @ v + (kept * q) @ s
    end = kept[..., -1, :, None] * s + (last * k).mT @ v
    if a is not None and b is not None:
        # u_t = S_{t-1}^T a_t solves the triangular system u_t - sum_{j<t} (a_t . b_j) u_j = (all else that a_t reads)
        seen = _products(a, k, before) @ v + (kept_before * a) @ s
        u = torch.linalg.solve_triangular(-_products(a, b, before), seen, upper=False, unitriangular=True)
        o = o + _products(q, b, now) @ u
        end = end + (last * b).mT @ u
    return o, end


def _products(x: Tensor, y: Tensor, left: Tensor) -> Tensor:
    """<x_t, y_j> with every channel weighted by what is left of it; (batch, heads, time, time)."""
    return torch.einsum("bhtc,bhjc,bhctj->bhtj", x, y, left)


def explicit_channel_attention(
    q: Tensor,
    k: Tensor,
    g: Tensor,
    reset: Tensor | None,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    bonus: Tensor | None = None,
) -> Tensor:
    """A with o = A v from an empty memory, (batch, heads, time, time): what is read when value j is unit vector j."""
    batch, time, heads, key = q.shape
    units = torch.eye(time, dtype=q.dtype, device=q.device)[:, None].expand(batch, time, heads, time)
    empty = q.new_zeros(batch, heads, key, time)
    o, _ = write_and_read_channels(q, k, units, g, empty, a=a, b=b, bonus=bonus, reset=reset, form="parallel")
    return o.transpose(1, 2)
