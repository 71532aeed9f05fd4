"""The generalised delta rule:  S_t = (diag(exp g_t) + b_t a_t^T) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t.

The state's transition is diagonal plus rank one. a = -k, b = beta k, with beta k written, is the delta rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._matrix_state import check_gate, check_shapes, compute_dtype, empty_state


def generalized_delta_rule_reference(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor, s0: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The equation as a loop over time, on any device and dtype. Shapes as in :func:`generalized_delta_rule`."""
    s, outputs = s0, []
    for t in range(q.shape[1]):
        if reset is not None:
            s = torch.where(reset[:, t, None, None, None], torch.zeros_like(s), s)
        seen = torch.einsum("bhk,bhkv->bhv", a[:, t], s)
        s = g[:, t, :, :, None].exp() * s  # (batch, heads, key, value)
        s = s + b[:, t, :, :, None] * seen[:, :, None, :] + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
    return torch.stack(outputs, 1), s


def generalized_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    s0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """The recurrence of RWKV-7 (RWKV-7 "Goose" with Expressive Dynamic State Evolution, 2025, arXiv 2503.14456), where
    a is minus the unit removal key, b that key times the in-context learning rate.

    q, k, a, b: (batch, time, heads, key); v: (batch, time, heads, value); g: (batch, time, heads, key), the logarithm
    of the decay, <= 0; s0: (batch, heads, key, value), default zero; reset: (batch, time) bool, True empties the state
    before that step. No scaling of q is applied. A step with g = 0, k = 0 and b = 0 leaves the state as it is.
    Returns (o (batch, time, heads, value) in the dtype of v, final state (batch, heads, key, value)). bfloat16 and
    float16 are computed in float32, and the final state stays in float32.
    """
    op = "generalized_delta_rule"
    check_shapes(op, q, k, v, s0, reset)
    for name, x in (("a", a), ("b", b), ("g", g)):
        check_gate(op, name, x, q, per_key=True)
    out_dtype, dtype = v.dtype, compute_dtype(q, k, v, a, b, g, s0)
    path = choose(op, backend, q.shape[1], q, k, v, a, b, g, s0)
    if path == "fla":
        from seqmem.ops._fla import run

        return run(op, q, k, v, s0, reset, a=a, b=b, g=g)
    s0 = empty_state(q, v, dtype) if s0 is None else s0.to(dtype)
    q, k, v, a, b, g = (x.to(dtype) for x in (q, k, v, a, b, g))
    if path == "numba" and v.numel() > 0:
        from seqmem.ops._generalized_delta import scan

        o, s, _, _ = scan(q, k, v, a, b, g, s0, reset)
    else:
        o, s = generalized_delta_rule_reference(q, k, v, a, b, g, s0, reset)
    return o.to(out_dtype), s
