"""Numba kernels of the running softmax; one task is some heads of one row.

With m_t the largest score so far, u_t = sum_j exp(s_j - m_t), w_t = sum_j exp(s_j - m_t) v_j and o_t = w_t / u_t:
    A_t = exp(m_{t-1} - m_t)      e_t = exp(s_t - m_t)      u_t = A_t u_{t-1} + e_t      w_t = A_t w_{t-1} + e_t v_t
Backward, with G_t and d_t the gradients of w_t and -u_t at a fixed m_t:
    G_t = A_{t+1} G_{t+1} + do_t / u_t      d_t = A_{t+1} d_{t+1} + <do_t, o_t> / u_t
    dv_t = e_t G_t      ds_t = e_t (<G_t, v_t> - d_t)
Only the final state knows m itself: what is left of its gradient, dm - u du - <w, dw>, belongs to the largest score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, flags, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._math import weight
from seqmem.ops._operator import operator


def make_forward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def forward(s, v, m0, u0, w0, reset, o, m, u, w, group, tasks):  # type: ignore[no-untyped-def]
        time, heads, value = v.shape[1], v.shape[2], v.shape[3]
        groups = (heads + group - 1) // group
        nothing, zero, one = s.dtype.type(-np.inf), s.dtype.type(0), s.dtype.type(1)
        for task in prange(tasks):
            i, low = task // groups, task % groups * group
            high = min(low + group, heads)
            top, total, ws = m0[i].copy(), u0[i].copy(), w[i]
            ws[low:high] = w0[i, low:high]
            for t in range(time):
                fresh = reset.shape[0] > 0 and reset[i, t] > 0
                for h in range(low, high):
                    wt, vt, ot, score = ws[h], v[i, t, h], o[i, t, h], s[i, t, h]
                    if fresh:
                        top[h], total[h] = nothing, zero
                        for c in range(value):
                            wt[c] = zero
                    largest = top[h] if top[h] > score else score
                    keep, write = weight(top[h], largest), weight(score, largest)
                    top[h], total[h] = largest, keep * total[h] + write
                    m[i, t, h], u[i, t, h] = top[h], total[h]
                    share = zero if total[h] == zero else one / total[h]
                    for c in range(vt.shape[0]):
                        wt[c] = keep * wt[c] + write * vt[c]
                        ot[c] = wt[c] * share

    return forward


def make_backward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def backward(s, v, m0, u0, w0, reset, o, m, u, w, do, dm, du, dw, ds, dv, dm0, du0, dw0, group, tasks):  # type: ignore[no-untyped-def]
        time, heads, value = v.shape[1], v.shape[2], v.shape[3]
        groups = (heads + group - 1) // group
        nothing, zero, one = s.dtype.type(-np.inf), s.dtype.type(0), s.dtype.type(1)
        for task in prange(tasks):
            i, low = task // groups, task % groups * group
            high = min(low + group, heads)
            Gs, d, rest = dw0[i], np.zeros(heads, s.dtype), np.zeros(heads, s.dtype)
            largest = m[i, time - 1].copy()  # of the final state: the one that saw it first takes ``rest``
            for h in range(low, high):
                d[h], rest[h] = -du[i, h], dm[i, h] - u[i, time - 1, h] * du[i, h]
                for c in range(value):
                    Gs[h, c] = dw[i, h, c]
                    rest[h] -= w[i, h, c] * dw[i, h, c]
            for t in range(time - 1, -1, -1):
                fresh = reset.shape[0] > 0 and reset[i, t] > 0
                for h in range(high - 1, low - 1, -1):  # addresses fall throughout: the prefetcher follows
                    G, vt, ot, dot, dvt = Gs[h], v[i, t, h], o[i, t, h], do[i, t, h], dv[i, t, h]
                    now, total = m[i, t, h], u[i, t, h]
                    before = nothing if fresh else (m[i, t - 1, h] if t > 0 else m0[i, h])
                    share = zero if total == zero else one / total
                    write, keep = weight(s[i, t, h], now), weight(before, now)
                    along, through = zero, zero  # <G, v>, <do, o>
                    for c in range(vt.shape[0] - 1, -1, -1):
                        g = G[c] + dot[c] * share
                        along += g * vt[c]
                        through += dot[c] * ot[c]
                        dvt[c] = write * g
                        G[c] = keep * g
                    d[h] += through * share
                    ds[i, t, h] = write * (along - d[h])
                    if now == largest[h] and before < largest[h]:
                        ds[i, t, h] += rest[h]
                        rest[h] = zero
                    d[h] *= keep
                    if fresh:
                        rest[h] = zero  # the state before is forgotten
            for h in range(low, high):
                du0[i, h] = -d[h]
                for c in range(value):
                    rest[h] += w0[i, h, c] * Gs[h, c]
                dm0[i, h] = rest[h] - u0[i, h] * d[h]

    return backward


def heads_of_a_task(batch: int, heads: int) -> int:
    """All, so that memory is read row by row, or fewer where the batch alone gives the threads too few tasks."""
    groups, threads = 1, torch.get_num_threads()
    while batch * groups < 2 * threads > 2 and groups < heads:
        groups *= 2
    return -(-heads // groups)


@operator("seqmem::running_softmax")
def scan(
    s: Tensor, v: Tensor, m0: Tensor, u0: Tensor, w0: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(o, the final m, u and w, and m and u at every step (batch, time, heads)); all inputs of one dtype."""
    o, m, u, w = empty(v, s, s, w0)
    given = [array(x) for x in (s, v, m0, u0, w0)]
    group = heads_of_a_task(v.shape[0], v.shape[2])
    tasks = v.shape[0] * -(-v.shape[2] // group)
    launch(make_forward, (), tasks, *given, flags(reset), *[array(x) for x in (o, m, u, w)], group)
    return o, m[:, -1].clone(), u[:, -1].clone(), w, m, u


@operator("seqmem::running_softmax_backward")
def scan_backward(
    s: Tensor,
    v: Tensor,
    m0: Tensor,
    u0: Tensor,
    w0: Tensor,
    reset: Tensor | None,
    o: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    do: Tensor | None,
    dm: Tensor | None,
    du: Tensor | None,
    dw: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of s, v, m0, u0 and w0."""
    gradients = [torch.zeros_like(x) if dx is None else dx for x, dx in ((o, do), (m0, dm), (u0, du), (w0, dw))]
    results = empty(s, v, m0, u0, w0)
    given = [array(x) for x in (s, v, m0, u0, w0)]
    known = [array(x) for x in (o, m, u, w, *gradients, *results)]
    group = heads_of_a_task(v.shape[0], v.shape[2])
    launch(make_backward, (), v.shape[0] * -(-v.shape[2] // group), *given, flags(reset), *known, group)
    return results  # type: ignore[return-value]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    o, _, _, w, m, u = output
    ctx.save_for_backward(*inputs, o, m, u, w)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(m, u)


def _gradient(ctx: Any, do: Tensor | None, dm: Tensor | None, du: Tensor | None, dw: Tensor | None, *_: Any) -> Any:
    return *scan_backward(*ctx.saved_tensors, do, dm, du, dw), None


scan.register_fake(lambda s, v, m0, u0, w0, reset: empty(v, m0, u0, w0, s, s))
scan_backward.register_fake(lambda s, v, m0, u0, w0, *_: empty(s, v, m0, u0, w0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("running_softmax"))
