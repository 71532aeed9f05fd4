"""Numba kernels of h_t = exp(dt_t A) * h_{t-1} + dt_t u_t B_t,  y_t = <C_t, h_t>.

One task is one batch row and ``width`` neighbouring channels, whose state lies as (state, width) in a work buffer: the
inner loops run over channels, without a branch. Rows are copied into buffers of ``width`` first; where the channels end
inside a block, dt, u and A are 0 there, so that nothing enters or leaves. The parts of a buffer have constant offsets,
because LLVM gives up vectorising when it must compare too many arrays for overlap.

Decays are computed as 2^(dt A log2 e), the cheaper exponential: A stands in the work buffer times log2 e.

The forward pass keeps the state before every ``STEPS``-th step. The backward pass takes these chunks from the last to
the first, computes a chunk's states and decays again, and walks it in reverse. ``reset`` is (batch, time) uint8, or
(0, 0) where there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, flags, optional, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._math import exp2
from seqmem.ops._operator import operator

LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453
STEPS = 16  # between two kept states: with 16 x 64 numbers of state, a chunk's states and decays fit the L2 cache


def forward_kernel(state: int, width: int, parallel: int) -> Callable[..., None]:
    H = state * width  # work: A log2 e | h, each (state, width)
    DTU, Y = width, 2 * width  # rows: dt | dt u | y

    @jit(parallel)
    def forward(u, dt, A, B, C, h0, reset, y, final, kept, tasks):  # type: ignore[no-untyped-def]
        time, channels = u.shape[1], u.shape[2]
        blocks = (channels + width - 1) // width
        log2_e = u.dtype.type(LOG2_E)
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            live = min(width, channels - low)
            work, rows = np.zeros(2 * H, u.dtype), np.zeros(3 * width, u.dtype)
            for n in range(state):
                for c in range(live):
                    work[n * width + c] = A[low + c, n] * log2_e
                    work[H + n * width + c] = h0[i, low + c, n]
            for t in range(time):
                if reset.shape[0] > 0 and reset[i, t] > 0:
                    for m in range(H, 2 * H):
                        work[m] = 0
                if kept.shape[0] > 0 and t % STEPS == 0:
                    for n in range(state):
                        keep = kept[i, t // STEPS, n, low : low + live]
                        for c in range(keep.shape[0]):
                            keep[c] = work[H + n * width + c]
                ut, dtt, Bt, Ct = u[i, t, low : low + live], dt[i, t, low : low + live], B[i, t], C[i, t]
                for c in range(dtt.shape[0]):
                    rows[c] = dtt[c]
                    rows[DTU + c] = dtt[c] * ut[c]
                for c in range(width):
                    rows[Y + c] = 0
                for n in range(state):
                    write, read = Bt[n], Ct[n]
                    for c in range(width):
                        h = exp2(rows[c] * work[n * width + c]) * work[H + n * width + c] + rows[DTU + c] * write
                        work[H + n * width + c] = h
                        rows[Y + c] += h * read
                yt = y[i, t, low : low + live]
                for c in range(yt.shape[0]):
                    yt[c] = rows[Y + c]
            for n in range(state):
                for c in range(live):
                    final[i, low + c, n] = work[H + n * width + c]

    return forward


def backward_kernel(state: int, width: int, parallel: int) -> Callable[..., None]:
    size = state * width
    DH, DA = size, 2 * size  # work: A log2 e | gradient of h | gradient of A, each (state, width)
    DTU, DY, DX, DE = (
        width,
        2 * width,
        3 * width,
        4 * width,
    )  # rows: dt | dt u | dy | <B, dh> | <A log2 e, dh * decay * h>

    @jit(parallel)
    def backward(  # type: ignore[no-untyped-def]
        u, dt, A, B, C, reset, kept, dy, dfinal, du, ddt, dA, dB, dC, dh0, tasks
    ):
        """dA: (batch, state, channels); dB, dC: (blocks, batch, time, state): each task its own, summed afterwards."""
        time, channels = u.shape[1], u.shape[2]
        zero, log2_e, ln_2 = u.dtype.type(0), u.dtype.type(LOG2_E), u.dtype.type(LN_2)
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, block = task // blocks, task % blocks
            low = block * width
            live = min(width, channels - low)
            work, rows = np.zeros(3 * size, u.dtype), np.zeros(5 * width, u.dtype)
            states, decays = np.zeros((STEPS + 1, size), u.dtype), np.empty((STEPS, size), u.dtype)
            nothing = np.zeros(size, u.dtype)
            for n in range(state):
                for c in range(live):
                    work[n * width + c] = A[low + c, n] * log2_e
                    if dfinal.shape[0] > 0:
                        work[DH + n * width + c] = dfinal[i, low + c, n]
            for chunk in range((time + STEPS - 1) // STEPS - 1, -1, -1):
                first = chunk * STEPS
                steps = min(STEPS, time - first)
                start = states[0]
                for n in range(state):
                    keep = kept[i, chunk, n, low : low + live]
                    for c in range(keep.shape[0]):
                        start[n * width + c] = keep[c]
                for j in range(steps):  # the chunk's states and decays once more
                    t = first + j
                    ut, dtt, Bt = u[i, t, low : low + live], dt[i, t, low : low + live], B[i, t]
                    for c in range(dtt.shape[0]):
                        rows[c] = dtt[c]
                        rows[DTU + c] = dtt[c] * ut[c]
                    # the state kept before a step is the one after its reset, so only j > 0 needs to look
                    before = nothing if j > 0 and reset.shape[0] > 0 and reset[i, t] > 0 else states[j]
                    after, decay = states[j + 1], decays[j]
                    for n in range(state):
                        write = Bt[n]
                        for c in range(width):
                            e = exp2(rows[c] * work[n * width + c])
                            decay[n * width + c] = e
                            after[n * width + c] = e * before[n * width + c] + rows[DTU + c] * write
                for j in range(steps - 1, -1, -1):
                    t = first + j
                    fresh = reset.shape[0] > 0 and reset[i, t] > 0
                    before = nothing if fresh else states[j]
                    after, decay = states[j + 1], decays[j]
                    ut, dtt, dyt = u[i, t, low : low + live], dt[i, t, low : low + live], dy[i, t, low : low + live]
                    Bt, Ct, dBt, dCt = B[i, t], C[i, t], dB[block, i, t], dC[block, i, t]
                    for c in range(dtt.shape[0]):
                        rows[c] = dtt[c]
                        rows[DTU + c] = dtt[c] * ut[c]
                        rows[DY + c] = dyt[c]
                    for c in range(width):
                        rows[DX + c] = 0
                        rows[DE + c] = 0
                    for n in range(state):
                        write, read = Bt[n], Ct[n]
                        sum_b = sum_c = zero
                        for c in range(width):
                            dh = work[DH + n * width + c] + read * rows[DY + c]
                            sum_c += after[n * width + c] * rows[DY + c]
                            sum_b += dh * rows[DTU + c]
                            rows[DX + c] += dh * write
                            dh *= decay[n * width + c]
                            work[DH + n * width + c] = dh
                            de = dh * before[n * width + c]
                            rows[DE + c] += de * work[n * width + c]
                            work[DA + n * width + c] += de * rows[c]
                        dBt[n] = sum_b
                        dCt[n] = sum_c
                    if fresh:
                        for m in range(DH, DH + size):
                            work[m] = 0
                    dut, ddtt = du[i, t, low : low + live], ddt[i, t, low : low + live]
                    for c in range(dut.shape[0]):
                        dut[c] = rows[DX + c] * dtt[c]
                        ddtt[c] = rows[DX + c] * ut[c] + rows[DE + c] * ln_2
            for n in range(state):
                for c in range(live):
                    dA[i, n, low + c] = work[DA + n * width + c]
                    dh0[i, low + c, n] = work[DH + n * width + c]

    return backward


def block_width(channels: int, state: int) -> int:
    """64 channels, less where they are few or the state is large (a chunk's states must stay in the cache)."""
    return next(width for width in (16, 32, 64) if width >= channels or 2 * width * state > 1024 or width == 64)


@operator("seqmem::selective_scan")
def scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor, reset: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, final state, kept states), all of one dtype; ``keep`` when a gradient will be asked for."""
    (batch, _, channels), state = u.shape, A.shape[1]
    width = block_width(channels, state)
    y, final, kept = _outputs(u, dt, A, B, C, h0, reset, keep)
    given = (*map(array, (u, dt, A, B, C, h0)), flags(reset))
    tasks = batch * -(-channels // width)
    launch(forward_kernel, (state, width), tasks, *given, array(y), array(final), array(kept))
    return y, final, kept


@operator("seqmem::selective_scan_backward")
def scan_backward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    reset: Tensor | None,
    kept: Tensor,
    dy: Tensor | None,
    dfinal: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of u, dt, A, B, C and h0."""
    (batch, time, channels), state = u.shape, A.shape[1]
    width = block_width(channels, state)
    blocks = -(-channels // width)
    dy = torch.zeros_like(u) if dy is None else dy
    du, ddt = empty(u, dt)
    dh0, dA = u.new_empty(batch, channels, state), u.new_empty(batch, state, channels)
    dB, dC = u.new_empty(blocks, batch, time, state), u.new_empty(blocks, batch, time, state)
    given = (*map(array, (u, dt, A, B, C)), flags(reset), array(kept), array(dy), optional(dfinal, dh0))
    launch(backward_kernel, (state, width), batch * blocks, *given, *map(array, (du, ddt, dA, dB, dC, dh0)))
    return du, ddt, dA.sum(0).t().contiguous(), dB.sum(0), dC.sum(0), dh0


@scan.register_fake
def _outputs(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor, reset: Tensor | None, keep: bool
) -> tuple[Tensor, ...]:
    batch, time, channels = u.shape
    return *empty(u, h0), u.new_empty((batch, -(-time // STEPS), A.shape[1], channels) if keep else (0, 0, 0, 0))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    u, dt, A, B, C, _, reset, _ = inputs
    ctx.save_for_backward(u, dt, A, B, C, reset, output[2])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    return *scan_backward(*ctx.saved_tensors, dy, dfinal), None, None


scan_backward.register_fake(lambda u, dt, A, B, C, *_: (*empty(u, dt, A, B, C), u.new_empty(u.shape[0], *A.shape)))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("selective_scan"))
