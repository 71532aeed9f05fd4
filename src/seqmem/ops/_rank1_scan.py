"""A matrix that decays, is written to by an outer product and read by a vector.

It is the forward pass of linear attention and, three times over, its backward pass:

    forward in time:   S_t = a_t S_{t-1} + x_t y_t^T,        z_t = S_t^T r_t
    backward in time:  S_t = a_{t+1} S_{t+1} + x_t y_t^T,    z_t = S_t^T r_t

The decay ``a`` is one number per step, or one per row of S (it belongs with x), or one per column (it belongs with y).

Up to four steps at a time form a block. With S the state before it, and a_{s:t} the product of the decays of the steps
after s up to t (all of them at most what one of them is, so that nothing overflows):

    z_t = (a_{:t} S)^T r_t + sum_{s <= t} <r_t, a_{s:t} x_s> y_s        S' = a_{:4} S + sum_s a_{s:4} x_s y_s^T

Every block passes over S once: what the previous block wrote is added as this one reads (:mod:`seqmem.ops._sweep`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from numba import prange
from torch import Tensor

from seqmem.ops._launch import jit, launch
from seqmem.ops._sweep import aligned, move, padded, recall, sweep

Side = Literal["rows", "columns"]
BLOCK = 4  # steps


def make_rank1_scan(rows: int, columns: int, per_row: int, parallel: int) -> Callable[..., None]:
    """The kernel for states of ``rows`` x ``columns``; ``per_row``: the decay is one number per row, else one per
    column or per step."""
    R, C = padded(rows), padded(columns)
    width = R if per_row else C  # of the decays
    decays_given = rows if per_row else columns

    @jit(parallel)
    def rank1_scan(r, x, y, a, reset, s0, z, s, backward, tasks):  # type: ignore[no-untyped-def]
        # r, x: (batch, time, heads, rows); y, z: (batch, time, heads, columns)
        # a: (batch, time, heads, 1 | rows | columns)
        # s0 before the first step taken, s after the last one: (batch, heads, rows, columns)
        time, heads, decays = x.shape[1], x.shape[2], a.shape[3]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for task in prange(tasks):
            b, h = task // heads, task % heads
            s0h, sh, S = s0[b, h], s[b, h], aligned(rows, C, s0)
            # of a block: its writes (xs, ys), its reads (rs) and what they give (zs)
            xs, rs, ys, zs = aligned(BLOCK, R, s0), aligned(BLOCK, R, s0), aligned(BLOCK, C, s0), aligned(BLOCK, C, s0)
            raw = aligned(BLOCK, R, s0) if per_row else rs  # without the decay
            decay, w = aligned(1, width, s0), aligned(1, width, s0)[0]
            through = decay[0]
            S[:, :columns] = s0h
            decay[:] = one
            done = 0
            while done < time:
                first = time - done if backward else done  # its decay lies between the previous step taken and this one
                fresh = first < time and reset[b, first]
                if fresh:
                    S[:], xs[:], ys[:] = zero, zero, zero
                size = 1
                while size < BLOCK and done + size < time:
                    if reset[b, first - size if backward else first + size]:
                        break
                    size += 1
                if per_row:
                    for i in range(width):
                        w[i] = one
                for n in range(size):
                    t = first - n - 1 if backward else first + n
                    at = first - n if backward else first + n
                    move(raw, n * R, r, ((b * time + t) * heads + h) * rows, rows)
                    if per_row:
                        if n > 0 or (at < time and not fresh):
                            for i in range(rows):
                                w[i] *= a[b, at, h, i]
                        for i in range(R):
                            rs[n, i] = w[i] * raw[n, i]

                sweep(S, decay, xs, ys, rs, zs, rows, C, BLOCK, BLOCK, per_row)

                for i in range(width):
                    through[i] = one
                for n in range(size):
                    t = first - n - 1 if backward else first + n
                    at = first - n if backward else first + n
                    place = (b * time + t) * heads + h
                    if n > 0 or (at < time and not fresh):
                        if decays == 1:
                            scalar = a[b, at, h, 0]
                            for i in range(width):
                                w[i] = scalar
                        else:
                            move(w, 0, a, ((b * time + at) * heads + h) * decays_given, decays_given)
                        for i in range(width):
                            through[i] *= w[i]
                    if not per_row:
                        for j in range(C):
                            zs[n, j] *= through[j]
                    move(xs, n * R, x, place * rows, rows)
                    move(ys, n * C, y, place * columns, columns)
                    for m in range(n):
                        if per_row:
                            for i in range(R):
                                xs[m, i] *= w[i]
                        else:
                            for j in range(C):
                                ys[m, j] *= w[j]
                    recall(zs, n, raw, xs, ys, n + 1, R, C)
                    move(z, place * columns, zs, n * C, columns)
                xs[size:], ys[size:] = zero, zero
                done += size
            sweep(S, decay, xs, ys, rs, zs, rows, C, BLOCK, BLOCK, per_row)
            sh[:] = S[:, :columns]

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
    constants = (rows, columns, int(side == "rows" and a.shape[3] > 1))
    arrays = [tensor.numpy() for tensor in (r, x, y, a, reset, s0, z, s)]
    launch(make_rank1_scan, constants, x.shape[0] * x.shape[2], *arrays, backward)
    return z, s
