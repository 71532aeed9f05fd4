"""The two sweeps of the (gated) delta rule. Names as in :mod:`seqmem.ops._delta_rule`; states are rows x columns.

Up to four steps at a time form a block, as in :mod:`seqmem.ops._rank1_scan`: with S the state before it and a_{s:t} the
product of the decays after step s up to t,

    (a_t S_{t-1})^T k_t = (a_{:t} S)^T k_t + sum_{s < t} a_{s:t} <k_t, k_s> u_s

so that the state is passed over once per block, all its vectors reading at once, and what the steps of a block read of
each other's writes is added afterwards, one step after the other, as each needs the one before.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import prange

from seqmem.ops._launch import jit
from seqmem.ops._sweep import aligned, move, padded, recall, sweep

BLOCK = 4  # steps
BOTH = 2 * BLOCK


def make_forward(rows: int, columns: int, gated: int, learns: int, parallel: int) -> Callable[..., None]:
    """Forward in time:  p_t = (a_t S_{t-1})^T m_t,   S_t = a_t S_{t-1} + x_t u_t^T,   z_t = S_t^T r_t.

    learns: p becomes the residual y_t - p_t, and u_t = beta_t (y_t - p_t) is written; else u = y.
    """
    R, C = padded(rows), padded(columns)

    @jit(parallel)
    def forward(m, r, x, y, beta, a, reset, s0, p, z, s, tasks):  # type: ignore[no-untyped-def]
        # m, r, x: (batch, time, heads, rows); y, p, z: (batch, time, heads, columns)
        time, heads = x.shape[1], x.shape[2]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for task in prange(tasks):
            b, h = task // heads, task % heads
            s0h, sh, S = s0[b, h], s[b, h], aligned(rows, C, s0)
            xs, us, decay = aligned(BLOCK, R, s0), aligned(BLOCK, C, s0), aligned(1, C, s0)
            reads, found = aligned(BOTH, R, s0), aligned(BOTH, C, s0)  # m and p, then r and z
            S[:, :columns] = s0h
            decay[:] = one
            done = 0
            while done < time:
                if reset[b, done]:
                    S[:], xs[:], us[:] = zero, zero, zero
                size = 1
                while size < BLOCK and done + size < time and not reset[b, done + size]:
                    size += 1
                for n in range(size):
                    place = ((b * time + done + n) * heads + h) * rows
                    move(reads, n * R, m, place, rows)
                    move(reads, (BLOCK + n) * R, r, place, rows)

                sweep(S, decay, xs, us, reads, found, rows, C, BLOCK, BOTH, 0)

                through = one  # a_{:t}
                for n in range(size):
                    t = done + n
                    place = (b * time + t) * heads + h
                    if gated and not (n == 0 and reset[b, t]):
                        w = a[b, t, h]
                        through *= w
                        for k in range(n):
                            for j in range(C):
                                us[k, j] *= w
                    if gated:
                        for j in range(C):
                            found[n, j] *= through
                            found[BLOCK + n, j] *= through
                    recall(found, n, reads, xs, us, n, R, C)
                    move(xs, n * R, x, place * rows, rows)
                    move(us, n * C, y, place * columns, columns)
                    if learns:
                        rate = beta[b, t, h]
                        for j in range(C):
                            found[n, j] = us[n, j] - found[n, j]
                            us[n, j] = rate * found[n, j]
                    recall(found, BLOCK + n, reads, xs, us, n + 1, R, C)
                    move(p, place * columns, found, n * C, columns)
                    move(z, place * columns, found, (BLOCK + n) * C, columns)
                xs[size:], us[size:] = zero, zero
                decay[:] = through
                done += size
            sweep(S, decay, xs, us, reads, found, rows, C, BLOCK, BOTH, 0)
            sh[:] = S[:, :columns]

    return forward


def make_backward(rows: int, columns: int, gated: int, learns: int, parallel: int) -> Callable[..., None]:
    """Backward in time:  S_t = a_{t+1} (S_{t+1} - m_{t+1} e_{t+1}^T) + x_t y_t^T,   z_t = S_t^T r_t.

    learns: e_t = beta_t z_t, which is given out; else e is given. ``s`` receives S_0 - m_0 e_0^T, the gradient of a_0
    S_{-1}.
    """
    R, C = padded(rows), padded(columns)

    @jit(parallel)
    def backward(x, y, m, e, r, beta, a, reset, s0, z, s, tasks):  # type: ignore[no-untyped-def]
        # x, m, r: (batch, time, heads, rows); y, e, z: (batch, time, heads, columns)
        time, heads = x.shape[1], x.shape[2]
        zero, one = x.dtype.type(0), x.dtype.type(1)
        for task in prange(tasks):
            b, h = task // heads, task % heads
            s0h, sh, S = s0[b, h], s[b, h], aligned(rows, C, s0)
            writes, values = aligned(BOTH, R, s0), aligned(BOTH, C, s0)  # x and y, then m and -e
            ms, es = writes[BLOCK:], values[BLOCK:]
            rs, zs, decay = aligned(BLOCK, R, s0), aligned(BLOCK, C, s0), aligned(1, C, s0)
            S[:, :columns] = s0h
            decay[:] = one
            done = 0
            while done < time:
                first = time - done  # its decay lies between the previous step taken and this one
                fresh = first < time and reset[b, first]
                if fresh:
                    S[:], writes[:], values[:] = zero, zero, zero
                size = 1
                while size < BLOCK and done + size < time and not reset[b, first - size]:
                    size += 1
                for n in range(size):
                    move(rs, n * R, r, ((b * time + first - n - 1) * heads + h) * rows, rows)

                sweep(S, decay, writes, values, rs, zs, rows, C, BOTH, BLOCK, 0)

                through = one
                for n in range(size):
                    t = first - n - 1
                    place = (b * time + t) * heads + h
                    if gated and (n > 0 or (first < time and not fresh)):
                        w = a[b, t + 1, h]
                        through *= w
                        for k in range(n):
                            for j in range(C):
                                values[k, j] *= w
                                es[k, j] *= w
                    if gated:
                        for j in range(C):
                            zs[n, j] *= through
                    move(writes, n * R, x, place * rows, rows)
                    move(values, n * C, y, place * columns, columns)
                    recall(zs, n, rs, writes, values, n + 1, R, C)
                    recall(zs, n, rs, ms, es, n, R, C)
                    move(z, place * columns, zs, n * C, columns)
                    move(ms, n * R, m, place * rows, rows)
                    if learns:
                        rate = beta[b, t, h]
                        for j in range(C):
                            es[n, j] = rate * zs[n, j]
                        move(e, place * columns, es, n * C, columns)
                    else:
                        move(es, n * C, e, place * columns, columns)
                    for j in range(C):
                        es[n, j] = -es[n, j]
                writes[size:BLOCK], values[size:BLOCK], ms[size:], es[size:] = zero, zero, zero, zero
                decay[:] = through
                done += size
            sweep(S, decay, writes, values, rs, zs, rows, C, BOTH, BLOCK, 0)
            sh[:] = S[:, :columns]

    return backward
