"""A matrix that decays, is written to by an outer product and read by a vector.

It is the forward pass of linear attention and, three times over, its backward pass:

    forward in time:   S_t = a_t S_{t-1} + x_t y_t^T,        z_t = S_t^T r_t
    backward in time:  S_t = a_{t+1} S_{t+1} + x_t y_t^T,    z_t = S_t^T r_t

The decay ``a`` is one number per step, or one per row of S (it belongs with x), or one per column (it belongs with y).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from seqmem.ops._launch import OPTIONS, launch

Side = Literal["rows", "columns"]


def padded(size: int) -> int:
    """Columns of a state's row in memory: whole vectors, so that no loop over columns has a remainder."""
    return -(-size // 8) * 8 if size <= 8 else -(-size // 16) * 16


@lru_cache(None)
def make_rank1_scan(rows: int, columns: int, per_column: int, parallel: int) -> Callable[..., None]:
    """The kernel for states of ``rows`` x ``columns``. One pass over S takes two steps of time, so that S is read and
    written half as often; a pair is broken up where a document begins."""
    R, C = -(-rows // 4) * 4, padded(columns)

    @njit(parallel=bool(parallel), **OPTIONS)
    def rank1_scan(
        r: Any, x: Any, y: Any, a: Any, reset: Any, s0: Any, z: Any, s: Any, backward: bool, tasks: int
    ) -> None:
        # r, x: (batch, time, heads, rows); y, z: (batch, time, heads, columns)
        # a: (batch, time, heads, 1 | rows | columns)
        # s0 before the first step taken, s after the last one: (batch, heads, rows, columns)
        time, heads, decays = x.shape[1], x.shape[2], a.shape[3]
        for task in prange(tasks + parallel - parallel):
            b, h = task // heads, task % heads
            S = np.zeros(R * C, x.dtype)
            # of two steps each: what is written (xs, ys), read by (rs), decayed by (ws) and read out (zs)
            xs, rs, ws = np.zeros(2 * R, x.dtype), np.zeros(2 * R, x.dtype), np.ones(2 * R, x.dtype)
            ys, zs, vs = np.zeros(2 * C, x.dtype), np.zeros(2 * C, x.dtype), np.ones(2 * C, x.dtype)
            s0h = s0[b, h]
            for i in range(rows):
                for j in range(columns):
                    S[i * C + j] = s0h[i, j]
            done = 0
            while done < time:
                pair = 1
                for n in range(2):
                    step = done + n
                    t = time - 1 - step if backward else step
                    present = step < time
                    decay_at = t + 1 if backward else t  # the decay between the previous step taken and this one
                    decayed = present and 0 <= decay_at < time
                    cut = decayed and reset[b, decay_at]
                    if n == 1:
                        if present and not cut:
                            pair = 2
                        else:  # alone: the second step changes nothing
                            for i in range(R):
                                xs[R + i] = 0
                                ws[R + i] = 1
                            for j in range(C):
                                vs[C + j] = 1
                            break
                    if cut:
                        for i in range(R * C):
                            S[i] = 0
                        decayed = False
                    xt, rt, yt = x[b, t, h], r[b, t, h], y[b, t, h]
                    for i in range(rows):
                        xs[n * R + i] = xt[i]
                        rs[n * R + i] = rt[i]
                    for j in range(columns):
                        ys[n * C + j] = yt[j]
                    if per_column:
                        if decayed:
                            at = a[b, decay_at, h]
                            for j in range(columns):
                                vs[n * C + j] = at[j]
                        else:
                            for j in range(columns):
                                vs[n * C + j] = 1
                    elif not decayed:
                        for i in range(rows):
                            ws[n * R + i] = 1
                    elif decays == 1:
                        one = a[b, decay_at, h, 0]
                        for i in range(rows):
                            ws[n * R + i] = one
                    else:
                        at = a[b, decay_at, h]
                        for i in range(rows):
                            ws[n * R + i] = at[i]
                for j in range(2 * C):
                    zs[j] = 0
                for i in range(0, R, 4):
                    x00, x01, x02, x03 = xs[i], xs[i + 1], xs[i + 2], xs[i + 3]
                    r00, r01, r02, r03 = rs[i], rs[i + 1], rs[i + 2], rs[i + 3]
                    x10, x11, x12, x13 = xs[R + i], xs[R + i + 1], xs[R + i + 2], xs[R + i + 3]
                    r10, r11, r12, r13 = rs[R + i], rs[R + i + 1], rs[R + i + 2], rs[R + i + 3]
                    w00, w01, w02, w03 = ws[i], ws[i + 1], ws[i + 2], ws[i + 3]
                    w10, w11, w12, w13 = ws[R + i], ws[R + i + 1], ws[R + i + 2], ws[R + i + 3]
                    for j in range(C):
                        y0, y1 = ys[j], ys[C + j]
                        if per_column:
                            w00 = w01 = w02 = w03 = vs[j]
                            w10 = w11 = w12 = w13 = vs[C + j]
                        c0 = w00 * S[i * C + j] + x00 * y0
                        c1 = w01 * S[(i + 1) * C + j] + x01 * y0
                        c2 = w02 * S[(i + 2) * C + j] + x02 * y0
                        c3 = w03 * S[(i + 3) * C + j] + x03 * y0
                        zs[j] += (r00 * c0 + r01 * c1) + (r02 * c2 + r03 * c3)
                        c0 = w10 * c0 + x10 * y1
                        c1 = w11 * c1 + x11 * y1
                        c2 = w12 * c2 + x12 * y1
                        c3 = w13 * c3 + x13 * y1
                        zs[C + j] += (r10 * c0 + r11 * c1) + (r12 * c2 + r13 * c3)
                        S[i * C + j] = c0
                        S[(i + 1) * C + j] = c1
                        S[(i + 2) * C + j] = c2
                        S[(i + 3) * C + j] = c3
                for n in range(pair):
                    t = time - 1 - done - n if backward else done + n
                    zt = z[b, t, h]
                    for j in range(columns):
                        zt[j] = zs[n * C + j]
                done += pair
            sh = s[b, h]
            for i in range(rows):
                for j in range(columns):
                    sh[i, j] = S[i * C + j]

    return rank1_scan


def rank1_scan(
    r: Tensor,
    x: Tensor,
    y: Tensor,
    a: Tensor,
    reset: Tensor,
    s0: Tensor,
    *,
    side: Side = "rows",
    backward: bool = False,
) -> tuple[Tensor, Tensor]:
    """All inputs contiguous; ``a`` is the decay itself. Returns (z, the state after the last step taken)."""
    z, s = torch.empty_like(y), torch.empty_like(s0)
    rows, columns = s0.shape[2:]
    constants = (rows, columns, int(side == "columns" and a.shape[3] > 1))
    arrays = [tensor.numpy() for tensor in (r, x, y, a, reset, s0, z, s)]
    launch(make_rank1_scan, constants, x.shape[0] * x.shape[2], *arrays, backward)
    return z, s
