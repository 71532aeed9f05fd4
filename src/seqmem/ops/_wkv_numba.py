"""Numba kernels of RWKV-4's weighted average; one task is one batch row and one block of neighbouring channels.

With m_t the largest decayed key so far, u_t and w_t the sums relative to it (as in ``_running_softmax_numba``):
    A_t = exp(m_{t-1} + g - m_t)    e_t = exp(k_t - m_t)    u_t = A_t u_{t-1} + e_t    w_t = A_t w_{t-1} + e_t v_t
    Z_t = p_t u_{t-1} + q_t         o_t = (p_t w_{t-1} + q_t v_t) / Z_t
where p_t and q_t are exp(m_{t-1}) and exp(k_t + bonus), both relative to the larger of them. Backward, with G_t and d_t
the gradients of w_t and -u_t at a fixed m_t:
    G_{t-1} = A_t G_t + p_t do_t / Z_t          d_{t-1} = A_t d_t + p_t do_t o_t / Z_t
    dv_t = e_t G_t + q_t do_t / Z_t             dk_t = e_t (G_t v_t - d_t) + q_t (v_t - o_t) do_t / Z_t
    dg = sum_t A_t (G_t w_{t-1} - d_t u_{t-1})  dbonus = sum_t q_t (v_t - o_t) do_t / Z_t
Only the final state knows m itself: what is left of its gradient, dm - u du - w dw, belongs to the key that set it, and
to g for every step since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, flags, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._linear_scan_numba import block_width
from seqmem.ops._math import weight
from seqmem.ops._operator import operator


def make_forward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def forward(k, v, g, bonus, m0, u0, w0, reset, o, m, u, w, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = k.shape[1], k.shape[2]
        nothing, zero, one = k.dtype.type(-np.inf), k.dtype.type(0), k.dtype.type(1)
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            gs, extra = g[low:high], bonus[low:high]
            ms, us, ws = m0[i, low:high].copy(), u0[i, low:high].copy(), w0[i, low:high].copy()
            for t in range(time):
                if reset.shape[0] > 0 and reset[i, t] > 0:
                    for c in range(ms.shape[0]):
                        ms[c], us[c], ws[c] = nothing, zero, zero
                kt, vt, ot = k[i, t, low:high], v[i, t, low:high], o[i, t, low:high]
                for c in range(kt.shape[0]):
                    now = kt[c] + extra[c]
                    top = ms[c] if ms[c] > now else now
                    p, q = weight(ms[c], top), weight(now, top)
                    total = p * us[c] + q
                    total = one if total == zero else total
                    ot[c] = (p * ws[c] + q * vt[c]) / total
                for c in range(kt.shape[0]):
                    old = ms[c] + gs[c]
                    top = old if old > kt[c] else kt[c]
                    keep, write = weight(old, top), weight(kt[c], top)
                    ms[c] = top
                    us[c] = keep * us[c] + write
                    ws[c] = keep * ws[c] + write * vt[c]
                mt, ut, wt = m[i, t, low:high], u[i, t, low:high], w[i, t, low:high]
                for c in range(mt.shape[0]):
                    mt[c], ut[c], wt[c] = ms[c], us[c], ws[c]

    return forward


@njit(inline="always")  # three times, each with one known set of states before: LLVM must see that to vectorise
def step_back(k, v, g, bonus, m0, u0, w0, o, m, do, dk, dv, dg, dbonus, G, d, rest):  # type: ignore[no-untyped-def]
    zero, one = k.dtype.type(0), k.dtype.type(1)
    for c in range(k.shape[0] - 1, -1, -1):  # addresses fall throughout: the prefetcher follows
        old, write = m0[c] + g[c], weight(k[c], m[c])
        keep = weight(old, m[c])
        now = k[c] + bonus[c]
        top = m0[c] if m0[c] > now else now
        p, q = weight(m0[c], top), weight(now, top)
        total = p * u0[c] + q
        slope = do[c] / (one if total == zero else total)
        present = q * slope * (v[c] - o[c])
        sets = k[c] > old  # this key is the new maximum
        dv[c] = write * G[c] + q * slope
        dk[c] = write * (G[c] * v[c] - d[c]) + present + (rest[c] if sets else zero)
        dbonus[c] += present
        dg[c] += keep * (G[c] * w0[c] - d[c] * u0[c]) + (zero if sets else rest[c])
        rest[c] = zero if sets else rest[c]
        G[c] = keep * G[c] + p * slope
        d[c] = keep * d[c] + p * slope * o[c]


def make_backward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def backward(  # type: ignore[no-untyped-def]
        k, v, g, bonus, m0, u0, w0, reset, o, m, u, w, do, dm, du, dw, dk, dv, dg, dbonus, dm0, du0, dw0, width, tasks
    ):
        time, channels = k.shape[1], k.shape[2]
        nothing, zero = k.dtype.type(-np.inf), k.dtype.type(0)
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            gs, extra = g[low:high], bonus[low:high]
            G, d, rest = dw[i, low:high].copy(), -du[i, low:high], dm[i, low:high].copy()
            empty_m, empty_s = np.full(high - low, nothing), np.zeros(high - low, k.dtype)
            dgs, dextra = np.zeros(high - low, k.dtype), np.zeros(high - low, k.dtype)
            for c in range(high - low):
                rest[c] -= u[i, time - 1, low + c] * du[i, low + c] + w[i, time - 1, low + c] * dw[i, low + c]
            for t in range(time - 1, -1, -1):
                kt, vt, ot, mt = k[i, t, low:high], v[i, t, low:high], o[i, t, low:high], m[i, t, low:high]
                dot, dkt, dvt = do[i, t, low:high], dk[i, t, low:high], dv[i, t, low:high]
                if reset.shape[0] > 0 and reset[i, t] > 0:
                    step_back(
                        kt, vt, gs, extra, empty_m, empty_s, empty_s, ot, mt, dot, dkt, dvt, dgs, dextra, G, d, rest
                    )
                    for c in range(G.shape[0]):
                        G[c], d[c], rest[c] = zero, zero, zero
                elif t > 0:
                    mb, ub, wb = m[i, t - 1, low:high], u[i, t - 1, low:high], w[i, t - 1, low:high]
                    step_back(kt, vt, gs, extra, mb, ub, wb, ot, mt, dot, dkt, dvt, dgs, dextra, G, d, rest)
                else:
                    mb, ub, wb = m0[i, low:high], u0[i, low:high], w0[i, low:high]
                    step_back(kt, vt, gs, extra, mb, ub, wb, ot, mt, dot, dkt, dvt, dgs, dextra, G, d, rest)
            for c in range(high - low):
                dg[i, low + c], dbonus[i, low + c] = dgs[c], dextra[c]
                dw0[i, low + c], du0[i, low + c] = G[c], -d[c]
                dm0[i, low + c] = rest[c] + w0[i, low + c] * G[c] - u0[i, low + c] * d[c]

    return backward


@operator("seqmem::wkv")
def scan(
    k: Tensor, v: Tensor, g: Tensor, bonus: Tensor, m0: Tensor, u0: Tensor, w0: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(o, the final m, u and w, and m, u and w after every step (batch, time, channels)); all inputs of one dtype."""
    batch, _, channels = k.shape
    width = block_width(batch, channels)
    o, m, u, w = empty(v, v, v, v)
    given = [array(x) for x in (k, v, g, bonus, m0, u0, w0)]
    results = [array(x) for x in (o, m, u, w)]
    launch(make_forward, (), batch * -(-channels // width), *given, flags(reset), *results, width)
    return o, m[:, -1].clone(), u[:, -1].clone(), w[:, -1].clone(), m, u, w


@operator("seqmem::wkv_backward")
def scan_backward(
    k: Tensor,
    v: Tensor,
    g: Tensor,
    bonus: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of k, v, g, bonus, m0, u0 and w0, given those of o and of the final m, u and w."""
    batch, _, channels = k.shape
    width = block_width(batch, channels)
    gradients = [torch.zeros_like(x) if dx is None else dx for x, dx in ((o, do), (m0, dm), (u0, du), (w0, dw))]
    dk, dv, dg, dbonus, dm0, du0, dw0 = results = empty(k, v, m0, m0, m0, u0, w0)
    given = [array(x) for x in (k, v, g, bonus, m0, u0, w0)]
    known = [array(x) for x in (o, m, u, w, *gradients, *results)]
    launch(make_backward, (), batch * -(-channels // width), *given, flags(reset), *known, width)
    return dk, dv, dg.sum(0), dbonus.sum(0), dm0, du0, dw0


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, output[0], *output[4:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[4:])


def _gradient(ctx: Any, do: Tensor | None, dm: Tensor | None, du: Tensor | None, dw: Tensor | None, *_: Any) -> Any:
    return *scan_backward(*ctx.saved_tensors, do, dm, du, dw), None


scan.register_fake(lambda k, v, g, bonus, m0, u0, w0, reset: empty(v, m0, u0, w0, v, v, v))
scan_backward.register_fake(lambda k, v, g, bonus, m0, u0, w0, *_: empty(k, v, g, bonus, m0, u0, w0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("wkv"))
