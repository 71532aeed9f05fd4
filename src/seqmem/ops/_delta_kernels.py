"""The three sweeps of the (gated) delta rule. Names as in :mod:`seqmem.ops._delta_rule`; states are rows x columns,
four rows at a time.

Every sweep passes once over the state per step: what the next step needs to know of it is read in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, prange

from seqmem.ops._launch import OPTIONS
from seqmem.ops._sweep import padded


@lru_cache(None)
def make_forward(key: int, value: int, gated: int, parallel: int) -> Callable[..., None]:
    """S_t = a_t S_{t-1} + beta_t k_t r_t^T  with the residual  r_t = v_t - (a_t S_{t-1})^T k_t;   o_t = S_t^T q_t."""
    R, C = -(-key // 4) * 4, padded(value)

    @njit(parallel=bool(parallel), **OPTIONS)
    def forward(
        q: Any, k: Any, v: Any, beta: Any, a: Any, reset: Any, s0: Any, o: Any, residual: Any, s: Any, tasks: int
    ) -> None:
        time, heads = q.shape[1], q.shape[2]
        for task in prange(tasks + parallel - parallel):
            b, h = task // heads, task % heads
            S = np.zeros(R * C, q.dtype)
            ks, qs, ns = np.zeros(R, q.dtype), np.zeros(R, q.dtype), np.zeros(R, q.dtype)  # key, query, next key
            us, rs, ps = (
                np.zeros(C, q.dtype),
                np.zeros(C, q.dtype),
                np.zeros(C, q.dtype),
            )  # written, read out, S^T next key
            s0h, first = s0[b, h], k[b, 0, h]
            for i in range(key):
                ns[i] = first[i]
                for j in range(value):
                    S[i * C + j] = s0h[i, j]
                    ps[j] += first[i] * s0h[i, j]
            for t in range(time):
                w = q.dtype.type(1)
                if gated:
                    w = a[b, t, h]
                if reset[b, t]:
                    w = q.dtype.type(1)
                    for i in range(R * C):
                        S[i] = 0
                    for j in range(C):
                        ps[j] = 0
                qt, vt, rt, kn = q[b, t, h], v[b, t, h], residual[b, t, h], k[b, min(t + 1, time - 1), h]
                for i in range(key):
                    ks[i] = ns[i]
                    ns[i] = kn[i]
                    qs[i] = qt[i]
                rate = beta[b, t, h]
                for j in range(value):
                    rest = vt[j] - w * ps[j]
                    rt[j] = rest
                    us[j] = rate * rest
                for j in range(C):
                    rs[j] = 0
                    ps[j] = 0
                for i in range(0, R, 4):
                    k0, k1, k2, k3 = ks[i], ks[i + 1], ks[i + 2], ks[i + 3]
                    q0, q1, q2, q3 = qs[i], qs[i + 1], qs[i + 2], qs[i + 3]
                    n0, n1, n2, n3 = ns[i], ns[i + 1], ns[i + 2], ns[i + 3]
                    for j in range(C):
                        u = us[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        if gated:
                            c0, c1, c2, c3 = w * c0, w * c1, w * c2, w * c3
                        c0, c1, c2, c3 = c0 + k0 * u, c1 + k1 * u, c2 + k2 * u, c3 + k3 * u
                        rs[j] += (q0 * c0 + q1 * c1) + (q2 * c2 + q3 * c3)
                        ps[j] += (n0 * c0 + n1 * c1) + (n2 * c2 + n3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                ot = o[b, t, h]
                for j in range(value):
                    ot[j] = rs[j]
            sh = s[b, h]
            for i in range(key):
                for j in range(value):
                    sh[i, j] = S[i * C + j]

    return forward


@lru_cache(None)
def make_backward_errors(key: int, value: int, gated: int, parallel: int) -> Callable[..., None]:
    """dS_t = a_{t+1} (dS_{t+1} - k_{t+1} e_{t+1}^T) + q_t do_t^T, backward in time;   e_t = dv_t = beta_t dS_t^T k_t.

    ``s`` receives the gradient of a_0 S_{-1}."""
    R, C = -(-key // 4) * 4, padded(value)

    @njit(parallel=bool(parallel), **OPTIONS)
    def backward_errors(
        q: Any, k: Any, do: Any, beta: Any, a: Any, reset: Any, ds: Any, dv: Any, pull: Any, s: Any, tasks: int
    ) -> None:
        # pull_t = dS_t^T k_t, the gradient of what was written
        time, heads = q.shape[1], q.shape[2]
        for task in prange(tasks + parallel - parallel):
            b, h = task // heads, task % heads
            S = np.zeros(R * C, q.dtype)
            qs, ks, ls = (
                np.zeros(R, q.dtype),
                np.zeros(R, q.dtype),
                np.zeros(R, q.dtype),
            )  # query, key, decayed later key
            gs, es, ps = np.zeros(C, q.dtype), np.zeros(C, q.dtype), np.zeros(C, q.dtype)  # do, later e, dS^T k
            dsh = ds[b, h]
            for i in range(key):
                for j in range(value):
                    S[i * C + j] = dsh[i, j]
            for step in range(time):
                t = time - 1 - step
                w = q.dtype.type(1)
                if step > 0:
                    if gated:
                        w = a[b, t + 1, h]
                    if reset[b, t + 1]:
                        w = q.dtype.type(1)
                        for i in range(R * C):
                            S[i] = 0
                        for j in range(C):
                            es[j] = 0
                qt, kt, gt = q[b, t, h], k[b, t, h], do[b, t, h]
                for i in range(key):
                    ls[i] = w * ks[i]
                    ks[i] = kt[i]
                    qs[i] = qt[i]
                for j in range(value):
                    gs[j] = gt[j]
                for j in range(C):
                    ps[j] = 0
                for i in range(0, R, 4):
                    q0, q1, q2, q3 = qs[i], qs[i + 1], qs[i + 2], qs[i + 3]
                    k0, k1, k2, k3 = ks[i], ks[i + 1], ks[i + 2], ks[i + 3]
                    l0, l1, l2, l3 = ls[i], ls[i + 1], ls[i + 2], ls[i + 3]
                    for j in range(C):
                        g, e = gs[j], es[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        if gated:
                            c0, c1, c2, c3 = w * c0, w * c1, w * c2, w * c3
                        c0, c1, c2, c3 = c0 + q0 * g, c1 + q1 * g, c2 + q2 * g, c3 + q3 * g
                        c0, c1, c2, c3 = c0 - l0 * e, c1 - l1 * e, c2 - l2 * e, c3 - l3 * e
                        ps[j] += (k0 * c0 + k1 * c1) + (k2 * c2 + k3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                rate, dvt, pt = beta[b, t, h], dv[b, t, h], pull[b, t, h]
                for j in range(value):
                    pt[j] = ps[j]
                    es[j] = rate * ps[j]
                    dvt[j] = es[j]
            sh = s[b, h]
            for i in range(key):
                for j in range(value):
                    sh[i, j] = S[i * C + j] - ks[i] * es[j]

    return backward_errors


@lru_cache(None)
def make_backward_keys(key: int, value: int, gated: int, parallel: int) -> Callable[..., None]:
    """dk_t = dS_t u_t - (a_t S_{t-1}) e_t,   dq_t = S_t do_t:  one sweep backward in time for dS, one forward for S.

    Both states lie transposed, so that the products are sums over rows again. u_t = beta_t r_t is what was written."""
    R, C = -(-value // 4) * 4, padded(key)

    @njit(parallel=bool(parallel), **OPTIONS)
    def backward_keys(
        q: Any, k: Any, do: Any, u: Any, e: Any, a: Any, reset: Any, s0: Any, ds: Any, dq: Any, dk: Any, tasks: int
    ) -> None:
        time, heads = q.shape[1], q.shape[2]
        for task in prange(tasks + parallel - parallel):
            b, h = task // heads, task % heads
            S = np.zeros(R * C, q.dtype)
            gs, us, es = np.zeros(R, q.dtype), np.zeros(R, q.dtype), np.zeros(R, q.dtype)  # do, u, e
            qs, ks, ps, zs = np.zeros(C, q.dtype), np.zeros(C, q.dtype), np.zeros(C, q.dtype), np.zeros(C, q.dtype)

            dsh = ds[b, h]
            for i in range(value):
                for j in range(key):
                    S[i * C + j] = dsh[j, i]
            for step in range(time):
                t = time - 1 - step
                w = q.dtype.type(1)
                if step > 0:
                    if gated:
                        w = a[b, t + 1, h]
                    if reset[b, t + 1]:
                        w = q.dtype.type(1)
                        for i in range(R * C):
                            S[i] = 0
                        for i in range(R):
                            es[i] = 0
                qt, gt, ut = q[b, t, h], do[b, t, h], u[b, t, h]
                for i in range(value):
                    gs[i] = gt[i]
                    us[i] = ut[i]
                    es[i] = w * es[i]
                for j in range(key):
                    qs[j] = qt[j]
                for j in range(C):
                    ps[j] = 0
                for i in range(0, R, 4):
                    g0, g1, g2, g3 = gs[i], gs[i + 1], gs[i + 2], gs[i + 3]
                    e0, e1, e2, e3 = es[i], es[i + 1], es[i + 2], es[i + 3]
                    u0, u1, u2, u3 = us[i], us[i + 1], us[i + 2], us[i + 3]
                    for j in range(C):
                        x, y = qs[j], ks[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        if gated:
                            c0, c1, c2, c3 = w * c0, w * c1, w * c2, w * c3
                        c0, c1, c2, c3 = c0 + g0 * x, c1 + g1 * x, c2 + g2 * x, c3 + g3 * x
                        c0, c1, c2, c3 = c0 - e0 * y, c1 - e1 * y, c2 - e2 * y, c3 - e3 * y
                        ps[j] += (u0 * c0 + u1 * c1) + (u2 * c2 + u3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                et, kt, dkt = e[b, t, h], k[b, t, h], dk[b, t, h]
                for i in range(value):
                    es[i] = et[i]
                for j in range(key):
                    ks[j] = kt[j]
                    dkt[j] = ps[j]

            s0h = s0[b, h]
            for i in range(value):
                for j in range(key):
                    S[i * C + j] = s0h[j, i]
            for t in range(time):
                w = q.dtype.type(1)
                if gated:
                    w = a[b, t, h]
                if reset[b, t]:
                    w = q.dtype.type(1)
                    for i in range(R * C):
                        S[i] = 0
                kt, gt, ut, et = k[b, t, h], do[b, t, h], u[b, t, h], e[b, t, h]
                for i in range(value):
                    gs[i] = gt[i]
                    us[i] = ut[i]
                    es[i] = et[i]
                for j in range(key):
                    ks[j] = kt[j]
                for j in range(C):
                    ps[j] = 0
                    zs[j] = 0
                for i in range(0, R, 4):
                    g0, g1, g2, g3 = gs[i], gs[i + 1], gs[i + 2], gs[i + 3]
                    e0, e1, e2, e3 = es[i], es[i + 1], es[i + 2], es[i + 3]
                    u0, u1, u2, u3 = us[i], us[i + 1], us[i + 2], us[i + 3]
                    for j in range(C):
                        x = ks[j]
                        c0, c1, c2, c3 = S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j]
                        if gated:
                            c0, c1, c2, c3 = w * c0, w * c1, w * c2, w * c3
                        ps[j] += (e0 * c0 + e1 * c1) + (e2 * c2 + e3 * c3)
                        c0, c1, c2, c3 = c0 + u0 * x, c1 + u1 * x, c2 + u2 * x, c3 + u3 * x
                        zs[j] += (g0 * c0 + g1 * c1) + (g2 * c2 + g3 * c3)
                        S[i * C + j], S[(i + 1) * C + j], S[(i + 2) * C + j], S[(i + 3) * C + j] = c0, c1, c2, c3
                dqt, dkt = dq[b, t, h], dk[b, t, h]
                for j in range(key):
                    dqt[j] = zs[j]
                    dkt[j] -= ps[j]

    return backward_keys
