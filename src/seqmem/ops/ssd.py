"""Linear attention with one decay per head:  S_t = exp(g_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t.

The recurrence of Mamba-2, RetNet and simple GLA.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._matrix_state import check_gate, check_shapes, compute_dtype, empty_state


def ssd_reference(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, s0: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`ssd`."""
    s, outputs = s0, []
    for t in range(q.shape[1]):
        if reset is not None:
            s = torch.where(reset[:, t, None, None, None], torch.zeros_like(s), s)
        s = g[:, t, :, None, None].exp() * s + k[:, t, :, :, None] * v[:, t, :, None, :]  # (batch, heads, key, value)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
    return torch.stack(outputs, 1), s


def ssd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    s0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """State-space duality's recurrence (Transformers are SSMs, 2024, arXiv 2405.21060).

    q, k: (batch, time, heads, key); v: (batch, time, heads, value); g: (batch, time, heads), the logarithm of the
    decay, <= 0, default 0 (no decay: plain linear attention); s0: (batch, heads, key, value), default zero; reset:
    (batch, time) bool, True empties the state before that step. No scaling of q is applied. A step with g = 0 and k = 0
    leaves the state as it is.
    Returns (o (batch, time, heads, value) in the dtype of v, final state (batch, heads, key, value)). bfloat16 and
    float16 are computed in float32, and the final state stays in float32.
    """
    check_shapes("ssd", q, k, v, s0, reset)
    check_gate("ssd", "g", g, q)
    path = choose("ssd", backend, q.shape[1], q, k, v, g, s0)
    if path == "step":
        from seqmem.ops._step import matrix_step

        return matrix_step(q, k, v, g, None, s0, reset)
    if path == "fla":
        from seqmem.ops._fla import run

        return run("ssd", q, k, v, s0, reset, g=g)
    dtype = compute_dtype(q, k, v, g, s0)
    out_dtype = v.dtype
    s0 = empty_state(q, v, dtype) if s0 is None else s0.to(dtype)
    g = q.new_zeros(q.shape[:3], dtype=dtype) if g is None else g.to(dtype)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if path == "reference":
        o, s = ssd_reference(q, k, v, g, s0, reset)
    else:
        from seqmem.ops._linear_attention import scan

        o, s, _ = scan(q, k, v, g.unsqueeze(-1), s0, reset)
    return o.to(out_dtype), s
