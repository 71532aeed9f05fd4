"""A matrix as memory, in three forms that agree:

    S_t = exp(g_t) S_{t-1} + k_t u_t^T,   o_t = S_t^T q_t,
    u_t = v_t   or, with beta,   u_t = beta_t (v_t - exp(g_t) S_{t-1}^T k_t).

Without beta it is linear attention (with decay), with beta the (gated) delta rule. "recurrent" is the op of
:mod:`seqmem.ops`; "chunk" and "parallel" are matrix products in plain PyTorch on pieces of 64 positions, or on the
whole call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.ops import delta_rule, ssd
from seqmem.ops._decay import decay_matrix
from seqmem.ops._dispatch import takes_fla
from seqmem.ops._matrix_state import compute_dtype

CHUNK = 64
FORMS = ("parallel", "chunk", "recurrent")


def automatic_form(op: str, x: Tensor, *others: Tensor | None) -> str:
    """The rule of form="auto": "recurrent", which is the op, for a single position, on the CPU (it has a kernel) and
    where these tensors go to fla (whose kernel works in chunks); else "chunk"."""
    recurrent = x.shape[1] == 1 or x.device.type == "cpu" or takes_fla(op, x, *others)
    return "recurrent" if recurrent else "chunk"


def write_and_read(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    s0: Tensor,
    *,
    reset: Tensor | None,
    form: str,
) -> tuple[Tensor, Tensor]:
    """q, k: (batch, time, heads, key); v: (batch, time, heads, value); g, beta: (batch, time, heads) or None;
    s0: (batch, heads, key, value); reset: (batch, time) bool or None.

    Returns (o (batch, time, heads, value) in the dtype of v, final state); half precision is computed in float32.
    """
    if form == "auto":
        form = automatic_form("ssd" if beta is None else "delta_rule", q, k, v, beta, g, s0)
    if form == "recurrent":
        return ssd(q, k, v, g, s0, reset=reset) if beta is None else delta_rule(q, k, v, beta, g, s0, reset=reset)

    g = torch.zeros_like(q[..., 0]) if g is None else g
    g = g if reset is None else g.masked_fill(reset[..., None], -torch.inf)
    o_dtype, dtype = v.dtype, compute_dtype(q, k, v, g, beta, s0)
    q, k, v, g, s = (x.to(dtype) for x in (q, k, v, g, s0))
    beta = None if beta is None else beta.to(dtype)
    q, k, v, g = (x.transpose(1, 2) for x in (q, k, v, g))  # (batch, heads, time, ...)
    beta = None if beta is None else beta.transpose(1, 2)
    step = CHUNK if form == "chunk" else q.shape[2]
    outputs = []
    with torch.autocast(q.device.type, enabled=False):
        for start in range(0, q.shape[2], step):
            t = slice(start, start + step)
            beta_t = None if beta is None else beta[:, :, t]
            o, s = _one_chunk(q[:, :, t], k[:, :, t], v[:, :, t], g[:, :, t], beta_t, s)
            outputs.append(o)
    return torch.cat(outputs, 2).transpose(1, 2).to(o_dtype), s


def _one_chunk(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor | None, s: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk at once; (batch, heads, time, ...) everywhere, ``s`` as in :func:`write_and_read`.

    With D_tj what of position j is left at t and d_t what of ``s`` is left, the corrections u solve the triangular
    system u_t = beta_t (v_t - d_t s^T k_t - sum_{j<t} D_tj (k_t . k_j) u_j).
    """
    between = decay_matrix(g)  # D: (batch, heads, time, time)
    since_start = g.cumsum(-1).exp()[..., None]  # d: (batch, heads, time, 1)
    u = v
    if beta is not None:
        system = beta[..., None] * (k @ k.mT * between).tril(-1)
        u = torch.linalg.solve_triangular(
            system, beta[..., None] * (v - since_start * (k @ s)), upper=False, unitriangular=True
        )
    o = (q @ k.mT * between) @ u + since_start * (q @ s)
    s = since_start[..., -1:, :] * s + (between[..., -1, :, None] * k).mT @ u
    return o, s


def explicit_attention(q: Tensor, k: Tensor, g: Tensor | None, beta: Tensor | None, reset: Tensor | None) -> Tensor:
    """A with o = A v from an empty memory, (batch, heads, time, time): what is read when value j is unit vector j."""
    batch, time, heads, key = q.shape
    units = torch.eye(time, dtype=q.dtype, device=q.device)[:, None].expand(batch, time, heads, time)
    empty = q.new_zeros(batch, heads, key, time)
    return write_and_read(q, k, units, g, beta, empty, reset=reset, form="parallel")[0].transpose(1, 2)


def read_heads(attention: Tensor, value: Tensor) -> Tensor:
    """attention (batch, heads, time, time), value (batch, time, heads, value) -> (batch, time, heads, value)."""
    return torch.einsum("bhtj,bjhv->bthv", attention, value)
