"""Linear attention with a decay per key channel:  S_t = diag(exp g_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t.

With RWKV's bonus the present position is read before the decay, with a weight of its own:
o_t = (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import expect_shape
from seqmem.ops._matrix_state import check_gate, check_shapes, compute_dtype, empty_state


def gated_linear_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    s0: Tensor,
    reset: Tensor | None = None,
    bonus: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time. g: (batch, time, heads, key); other shapes as in
    :func:`gated_linear_attention`."""
    s, outputs = s0, []
    for t in range(q.shape[1]):
        if reset is not None:
            s = torch.where(reset[:, t, None, None, None], torch.zeros_like(s), s)
        write = k[:, t, :, :, None] * v[:, t, :, None, :]  # (batch, heads, key, value)
        if bonus is not None:
            outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s + bonus[..., None] * write))
        s = g[:, t, :, :, None].exp() * s + write
        if bonus is None:
            outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
    return torch.stack(outputs, 1), s


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    s0: Tensor | None = None,
    *,
    bonus: Tensor | None = None,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Gated linear attention (Gated Linear Attention Transformers with Hardware-Efficient Training, 2023, arXiv
    2312.06635).

    q, k: (batch, time, heads, key); v: (batch, time, heads, value); g: (batch, time, heads, key), the logarithm of the
    decay, <= 0; s0: (batch, heads, key, value), default zero; reset: (batch, time) bool, True empties the state before
    that step; bonus: (heads, key), the weight of the present position in a read that comes before the decay (RWKV-5 and
    -6: Eagle and Finch, 2024, arXiv 2404.05892). No scaling of q is applied. A step with g = 0 and k = 0 leaves the
    state as it is.
    Returns (o (batch, time, heads, value) in the dtype of v, final state (batch, heads, key, value)). bfloat16 and
    float16 are computed in float32, and the final state stays in float32.
    """
    check_shapes("gated_linear_attention", q, k, v, s0, reset)
    check_gate("gated_linear_attention", "g", g, q, per_key=True)
    if bonus is not None:
        expect_shape("gated_linear_attention", "bonus", bonus, "heads, key", *q.shape[2:])
        return _with_bonus(q, k, v, g, s0, bonus, reset, backend)
    path = choose("gated_linear_attention", backend, q.shape[1], q, k, v, g, s0)
    if path == "step":
        from seqmem.ops._step import matrix_step

        return matrix_step(q, k, v, g, None, s0, reset)
    if path == "fla":
        from seqmem.ops._fla import run

        return run("gated_linear_attention", q, k, v, s0, reset, g=g)
    dtype = compute_dtype(q, k, v, g, s0)
    out_dtype = v.dtype
    s0 = empty_state(q, v, dtype) if s0 is None else s0.to(dtype)
    q, k, v, g = q.to(dtype), k.to(dtype), v.to(dtype), g.to(dtype)
    if path == "reference":
        o, s = gated_linear_attention_reference(q, k, v, g, s0, reset)
    else:
        from seqmem.ops._linear_attention import scan

        o, s, _ = scan(q, k, v, g, s0, reset)
    return o.to(out_dtype), s


def _with_bonus(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    s0: Tensor | None,
    bonus: Tensor,
    reset: Tensor | None,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    """The read before the write is the read after it of the sequence that lags by one: there step t writes k_{t-1}, and
    one step more writes the last. What is before a reset is not written at all."""
    late = (0, 0, 0, 0, 1, 0)  # one position in front of time, in (batch, time, heads, channels)
    written = k if reset is None else k.masked_fill(F.pad(reset[:, 1:], (0, 1))[..., None, None], 0)
    o, s = gated_linear_attention(
        F.pad(q, (0, 0, 0, 0, 0, 1)),
        F.pad(written, late),
        F.pad(v, late),
        F.pad(g, late),
        s0,
        reset=None if reset is None else F.pad(reset, (0, 1)),
        backend=backend,
    )
    dtype = compute_dtype(q, k, v, g, s0, bonus)
    present = (q.to(dtype) * bonus * k).sum(-1, keepdim=True)  # (batch, time, heads, 1)
    return (o[:, :-1] + present * v).to(v.dtype), s
