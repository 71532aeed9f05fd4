"""The (gated) delta rule:  S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - k_t^T exp(g_t) S_{t-1}),   o_t = S_t^T q_t."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._matrix_state import check_gate, check_shapes, compute_dtype, empty_state


def delta_rule_reference(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, s0: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`delta_rule`."""
    s, outputs = s0, []
    for t in range(q.shape[1]):
        if reset is not None:
            s = torch.where(reset[:, t, None, None, None], torch.zeros_like(s), s)
        if g is not None:
            s = g[:, t, :, None, None].exp() * s
        error = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], s)
        s = s + k[:, t, :, :, None] * (beta[:, t, :, None] * error)[:, :, None, :]  # (batch, heads, key, value)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
    return torch.stack(outputs, 1), s


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    s0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Delta rule (Parallelizing Linear Transformers with the Delta Rule, 2024, arXiv 2406.06484), with decay when ``g``
    is given (Gated Delta Networks, 2024, arXiv 2412.06464).

    q, k: (batch, time, heads, key), k of unit length for stability; v: (batch, time, heads, value); beta: (batch, time,
    heads), in (0, 1), or (0, 2) for negative eigenvalues; g: (batch, time, heads), the logarithm of the decay, <= 0;
    s0: (batch, heads, key, value), default zero; reset: (batch, time) bool, True empties the state before that step. No
    scaling of q is applied. A step with g = 0 and beta = 0 leaves the state as it is.
    Returns (o (batch, time, heads, value) in the dtype of v, final state (batch, heads, key, value)). bfloat16 and
    float16 are computed in float32, and the final state stays in float32.
    """
    check_shapes("delta_rule", q, k, v, s0, reset)
    check_gate("delta_rule", "beta", beta, q)
    check_gate("delta_rule", "g", g, q)
    path = choose("delta_rule", backend, q.shape[1], q, k, v, beta, g, s0)
    if path == "step":
        from seqmem.ops._step import matrix_step

        return matrix_step(q, k, v, g, beta, s0, reset)
    if path == "fla":
        from seqmem.ops._fla import run

        return run("delta_rule", q, k, v, s0, reset, beta=beta, g=g)
    dtype = compute_dtype(q, k, v, beta, g, s0)
    out_dtype = v.dtype
    s0 = empty_state(q, v, dtype) if s0 is None else s0.to(dtype)
    q, k, v, beta = q.to(dtype), k.to(dtype), v.to(dtype), beta.to(dtype)
    g = None if g is None else g.to(dtype)
    if path == "reference":
        o, s = delta_rule_reference(q, k, v, beta, g, s0, reset)
    else:
        from seqmem.ops._delta_rule import scan

        o, s, _, _ = scan(q, k, v, beta, g, s0, reset)
    return o.to(out_dtype), s
