"""The generalised delta rule and its gradients, without a state being stored.

With w = exp g, R_t the gradient of the loss with respect to S_t, r_t = S_{t-1}^T a_t and p_t = R_t^T b_t:
    S_t     = diag(w_t) S_{t-1} + b_t r_t^T + k_t v_t^T          o_t  = S_t^T q_t
    R_{t-1} = diag(w_t) R_t     + a_t p_t^T + q_{t-1} do_{t-1}^T  dv_t = R_t^T k_t
One kernel sweeps both: the second is the first, backward in time, with a and b, k and q exchanged. Once r and p are
known, two sweeps of another kernel read the rest:
    dq_t = S_t do_t      da_t = S_{t-1} p_t      dk_t = R_t v_t      db_t = R_t r_t
<S_t, R_t> per row is dg_t + b_t db_t + k_t dk_t, and also dg_{t+1} + a_{t+1} da_{t+1} + q_t dq_t: the gradient of g is
a sum over the later steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._linear_attention import decay_gradient, flags
from seqmem.ops._operator import operator
from seqmem.ops._sweep import padded


def make_recurrence(key: int, value: int, parallel: int) -> Callable[..., None]:
    """S = diag(w) S + b seen^T + x y^T with seen = S^T a,   z = S^T r; forward, or backward in time, where the
    transition (w, a, b) between two steps is the later one's."""
    R, C = -(-key // 4) * 4, padded(value)

    @jit(parallel)
    def recurrence(r, x, y, a, b, w, reset, s0, z, seen, s, backward, tasks):  # type: ignore[no-untyped-def]
        # r, x, a, b, w: (batch, time, heads, key); y, z, seen: (batch, time, heads, value)
        time, heads = x.shape[1], x.shape[2]
        for task in prange(tasks):
            n, h = task // heads, task % heads
            S = np.zeros(R * C, x.dtype)
            rs, xs, ns = np.zeros(R, x.dtype), np.zeros(R, x.dtype), np.zeros(R, x.dtype)  # read, write, next a
            ws, bs = np.ones(R, x.dtype), np.zeros(R, x.dtype)
            ys, zs, ps, es = np.zeros(C, x.dtype), np.zeros(C, x.dtype), np.zeros(C, x.dtype), np.zeros(C, x.dtype)
            s0h, first = s0[n, h], a[n, 0, h]
            for i in range(key):
                for j in range(value):
                    S[i * C + j] = s0h[i, j]
                    if not backward:
                        ps[j] += first[i] * s0h[i, j]
            for step in range(time):
                t = time - 1 - step if backward else step
                change, later = (t + 1, t) if backward else (t, t + 1)  # this transition and the next one
                if change < time:
                    if reset[n, change]:
                        for i in range(R * C):
                            S[i] = 0
                        for j in range(C):
                            ps[j] = 0
                    wt, bt, et = w[n, change, h], b[n, change, h], seen[n, change, h]
                    for i in range(key):
                        ws[i] = wt[i]
                        bs[i] = bt[i]
                    for j in range(value):
                        et[j] = ps[j]
                rt, xt, yt, zt, at = r[n, t, h], x[n, t, h], y[n, t, h], z[n, t, h], a[n, min(later, time - 1), h]
                for i in range(key):
                    rs[i] = rt[i]
                    xs[i] = xt[i]
                    ns[i] = at[i]
                for j in range(value):
                    ys[j] = yt[j]
                for j in range(C):
                    es[j] = ps[j]
                    zs[j] = 0
                    ps[j] = 0
                for i in range(0, R, 4):
                    w0, w1, w2, w3 = ws[i], ws[i + 1], ws[i + 2], ws[i + 3]
                    b0, b1, b2, b3 = bs[i], bs[i + 1], bs[i + 2], bs[i + 3]
                    x0, x1, x2, x3 = xs[i], xs[i + 1], xs[i + 2], xs[i + 3]
                    r0, r1, r2, r3 = rs[i], rs[i + 1], rs[i + 2], rs[i + 3]
                    n0, n1, n2, n3 = ns[i], ns[i + 1], ns[i + 2], ns[i + 3]
                    for j in range(C):
                        e, u = es[j], ys[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        c0, c1 = w0 * c0 + b0 * e + x0 * u, w1 * c1 + b1 * e + x1 * u
                        c2, c3 = w2 * c2 + b2 * e + x2 * u, w3 * c3 + b3 * e + x3 * u
                        zs[j] += (r0 * c0 + r1 * c1) + (r2 * c2 + r3 * c3)
                        ps[j] += (n0 * c0 + n1 * c1) + (n2 * c2 + n3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                for j in range(value):
                    zt[j] = zs[j]
            if backward:  # the transition before the first step
                et = seen[n, 0, h]
                for j in range(value):
                    et[j] = x.dtype.type(0) if reset[n, 0] else ps[j]
            sh = s[n, h]
            for i in range(key):
                for j in range(value):
                    sh[i, j] = S[i * C + j]

    return recurrence


def make_reader(rows: int, columns: int, parallel: int) -> Callable[..., None]:
    """S = S diag(w) + x y^T + u q^T,   z = S^T r,   p = S^T m. Forward, (x, y, w) belong to step t, and m and p to the
    step after it; backward in time it is the other way round."""
    R, C = -(-rows // 4) * 4, padded(columns)

    @jit(parallel)
    def reader(x, y, w, u, q, r, m, reset, s0, z, p, backward, tasks):  # type: ignore[no-untyped-def]
        # x, u, r, m: (batch, time, heads, rows); y, w, q, z, p: (batch, time, heads, columns)
        time, heads = x.shape[1], x.shape[2]
        for task in prange(tasks):
            n, h = task // heads, task % heads
            S = np.zeros(R * C, x.dtype)
            xs, us, rs, ms = np.zeros(R, x.dtype), np.zeros(R, x.dtype), np.zeros(R, x.dtype), np.zeros(R, x.dtype)
            ys, ws, qs = np.zeros(C, x.dtype), np.ones(C, x.dtype), np.zeros(C, x.dtype)
            zs, ps = np.zeros(C, x.dtype), np.zeros(C, x.dtype)
            s0h = s0[n, h]
            for i in range(rows):
                for j in range(columns):
                    S[i * C + j] = s0h[i, j]
            for step in range(time):
                t = time - 1 - step if backward else step
                change, later = (t + 1, t) if backward else (t, t + 1)
                if change < time:
                    if reset[n, change]:
                        for i in range(R * C):
                            S[i] = 0
                    xt, yt, wt = x[n, change, h], y[n, change, h], w[n, change, h]
                    for i in range(rows):
                        xs[i] = xt[i]
                    for j in range(columns):
                        ys[j] = yt[j]
                        ws[j] = wt[j]
                ut, qt, rt, mt = u[n, t, h], q[n, t, h], r[n, t, h], m[n, min(later, time - 1), h]
                for i in range(rows):
                    us[i] = ut[i]
                    rs[i] = rt[i]
                    ms[i] = mt[i]
                for j in range(columns):
                    qs[j] = qt[j]
                for j in range(C):
                    zs[j] = 0
                    ps[j] = 0
                for i in range(0, R, 4):
                    x0, x1, x2, x3 = xs[i], xs[i + 1], xs[i + 2], xs[i + 3]
                    u0, u1, u2, u3 = us[i], us[i + 1], us[i + 2], us[i + 3]
                    r0, r1, r2, r3 = rs[i], rs[i + 1], rs[i + 2], rs[i + 3]
                    m0, m1, m2, m3 = ms[i], ms[i + 1], ms[i + 2], ms[i + 3]
                    for j in range(C):
                        d, e, f = ws[j], ys[j], qs[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        c0, c1 = d * c0 + x0 * e + u0 * f, d * c1 + x1 * e + u1 * f
                        c2, c3 = d * c2 + x2 * e + u2 * f, d * c3 + x3 * e + u3 * f
                        zs[j] += (r0 * c0 + r1 * c1) + (r2 * c2 + r3 * c3)
                        ps[j] += (m0 * c0 + m1 * c1) + (m2 * c2 + m3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                zt, pt = z[n, t, h], p[n, min(later, time - 1), h]
                for j in range(columns):
                    zt[j] = zs[j]
                    if later < time:
                        pt[j] = ps[j]

    return reader


@operator("seqmem::generalized_delta_rule")
def scan(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor, s0: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(o, final state, r (batch, time, heads, value), w); all inputs of one dtype."""
    o, r, s = empty(v, v, s0)
    w = g.exp().contiguous()
    arrays = [array(x) for x in (q, k, v, a, b, w)] + [array(flags(q, reset))] + [array(x) for x in (s0, o, r, s)]
    launch(make_recurrence, (q.shape[3], v.shape[3]), q.shape[0] * q.shape[2], *arrays, False)
    return o, s, r, w


@operator("seqmem::generalized_delta_rule_backward")
def scan_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    s0: Tensor,
    reset: Tensor | None,
    s: Tensor,
    r: Tensor,
    w: Tensor,
    do: Tensor | None,
    ds: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v, a, b, g and s0."""
    do, ds = torch.zeros_like(v) if do is None else do, torch.zeros_like(s0) if ds is None else ds
    key, value, tasks, starts = q.shape[3], v.shape[3], q.shape[0] * q.shape[2], flags(q, reset)
    dq, dk, dv, da, db, p, first = empty(q, k, v, a, b, v, s0)
    arrays = [array(x) for x in (k, q, do, b, a, w)] + [array(starts)] + [array(x) for x in (ds, dv, p, first)]
    launch(make_recurrence, (key, value), tasks, *arrays, True)
    arrays = [array(x) for x in (r, b, w, v, k, do, p)] + [array(starts)] + [array(x) for x in (s0.mT, dq, da)]
    launch(make_reader, (value, key), tasks, *arrays, False)
    da[:, 0] = torch.einsum("bhkv,bhv->bhk", s0, p[:, 0])  # p is 0 at a reset
    arrays = [array(x) for x in (p, a, w, do, q, v, r)] + [array(starts)] + [array(x) for x in (ds.mT, dk, db)]
    launch(make_reader, (value, key), tasks, *arrays, True)
    gain = q * dq + F.pad((a * da)[:, 1:], (0, 0, 0, 0, 0, 1)) - b * db - k * dk
    dg = decay_gradient(gain, w, starts, (s * ds).sum(-1))
    ds0 = w[:, 0, :, :, None] * first + a[:, 0, :, :, None] * p[:, 0, :, None, :]
    if reset is not None:
        ds0 = ds0.masked_fill(reset[:, 0, None, None, None], 0)
    return dq, dk, dv, da, db, dg, ds0


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, a, b, _, s0, reset = inputs
    ctx.save_for_backward(q, k, v, a, b, s0, reset, *output[1:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[2:])


def _gradient(ctx: Any, do: Tensor | None, ds: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    return *scan_backward(*ctx.saved_tensors, do, ds), None


scan.register_fake(lambda q, k, v, a, b, g, s0, reset: empty(v, s0, v, g))
scan_backward.register_fake(lambda q, k, v, a, b, s0, *_: empty(q, k, v, a, b, q, s0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("generalized_delta_rule"))
