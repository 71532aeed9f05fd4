"""Numba kernels of h_t = a_t * h_{t-1} + b_t.

One task is one batch row and one block of ``width`` neighbouring channels. ``reset`` is (batch, time) uint8, or (0, 0)
where there are none. Every time step is taken as row views, so that no index in the inner loops could be negative; the
backward pass walks rows from their ends, so that memory is read in one direction throughout.
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
from seqmem.ops._math import exp

WIDEST, NARROWEST = 1024, 64  # channels of a block: its state stays in the first-level cache; its rows fill cache lines


def real_forward(log: int, parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def forward(a, b, h0, reset, h, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = b.shape[1], b.shape[2]
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            s = h0[i, low:high].copy()
            for t in range(time):
                if reset.shape[0] > 0 and reset[i, t]:
                    for c in range(high - low):
                        s[c] = 0
                at, bt, ht = a[i, t, low:high], b[i, t, low:high], h[i, t, low:high]
                for c in range(high - low):
                    gate = exp(at[c]) if log else at[c]
                    s[c] = gate * s[c] + bt[c]
                    ht[c] = s[c]

    return forward


def real_backward(log: int, parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def backward(a, h, h0, reset, dh, dfinal, da, db, dh0, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = a.shape[1], a.shape[2]
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            zero = np.zeros(high - low, a.dtype)
            s = np.zeros(high - low, a.dtype)  # gradient of the state, carried back in time
            if dfinal.shape[0] > 0:
                for c in range(high - low):
                    s[c] = dfinal[i, low + c]
            for t in range(time - 1, -1, -1):
                fresh = reset.shape[0] > 0 and reset[i, t] > 0
                before = zero if fresh else (h[i, t - 1, low:high] if t > 0 else h0[i, low:high])
                at, dht = a[i, t, low:high], dh[i, t, low:high]
                dat, dbt = da[i, t, low:high], db[i, t, low:high]
                for c in range(high - low - 1, -1, -1):
                    gate = exp(at[c]) if log else at[c]
                    ds = s[c] + dht[c]
                    dbt[c] = ds
                    dat[c] = ds * before[c] * gate if log else ds * before[c]
                    s[c] = ds * gate
                if fresh:
                    for c in range(high - low):
                        s[c] = 0
            for c in range(high - low):
                dh0[i, low + c] = s[c]

    return backward


def complex_forward(parallel: int) -> Callable[..., None]:
    """As ``real_forward``; every array has a last dimension of real and imaginary part."""

    @jit(parallel)
    def forward(a, b, h0, reset, h, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = b.shape[1], b.shape[2]
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            re, im = h0[i, low:high, 0].copy(), h0[i, low:high, 1].copy()
            for t in range(time):
                if reset.shape[0] > 0 and reset[i, t]:
                    for c in range(high - low):
                        re[c], im[c] = 0, 0
                at, bt, ht = a[i, t, low:high], b[i, t, low:high], h[i, t, low:high]
                for c in range(high - low):
                    x = at[c, 0] * re[c] - at[c, 1] * im[c] + bt[c, 0]
                    y = at[c, 0] * im[c] + at[c, 1] * re[c] + bt[c, 1]
                    re[c], im[c] = x, y
                    ht[c, 0], ht[c, 1] = x, y

    return forward


def complex_backward(parallel: int) -> Callable[..., None]:
    """As ``real_backward``, with the conjugates of the gate and of the state, as PyTorch's gradients want them."""

    @jit(parallel)
    def backward(a, h, h0, reset, dh, dfinal, da, db, dh0, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = a.shape[1], a.shape[2]
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            zero = np.zeros((high - low, 2), a.dtype)
            re, im = np.zeros(high - low, a.dtype), np.zeros(high - low, a.dtype)
            if dfinal.shape[0] > 0:
                for c in range(high - low):
                    re[c], im[c] = dfinal[i, low + c, 0], dfinal[i, low + c, 1]
            for t in range(time - 1, -1, -1):
                fresh = reset.shape[0] > 0 and reset[i, t] > 0
                before = zero if fresh else (h[i, t - 1, low:high] if t > 0 else h0[i, low:high])
                at, dht = a[i, t, low:high], dh[i, t, low:high]
                dat, dbt = da[i, t, low:high], db[i, t, low:high]
                for c in range(high - low - 1, -1, -1):
                    x, y = re[c] + dht[c, 0], im[c] + dht[c, 1]
                    dbt[c, 0], dbt[c, 1] = x, y
                    dat[c, 0] = x * before[c, 0] + y * before[c, 1]
                    dat[c, 1] = y * before[c, 0] - x * before[c, 1]
                    re[c] = x * at[c, 0] + y * at[c, 1]
                    im[c] = y * at[c, 0] - x * at[c, 1]
                if fresh:
                    for c in range(high - low):
                        re[c], im[c] = 0, 0
            for c in range(high - low):
                dh0[i, low + c, 0], dh0[i, low + c, 1] = re[c], im[c]

    return backward


def block_width(batch: int, channels: int) -> int:
    """Whole rows, or less where the batch alone gives the threads too few tasks."""
    blocks = -(-channels // WIDEST)
    while batch * blocks < 2 * torch.get_num_threads() > 2 and channels >= 2 * blocks * NARROWEST:
        blocks *= 2
    return -(-channels // (blocks * 16)) * 16


@torch.library.custom_op("seqmem::linear_scan", mutates_args=())
def scan(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, log: bool) -> tuple[Tensor, Tensor]:
    """(h, final state); a, b and h0 of one dtype."""
    batch, _, channels = b.shape
    width = block_width(batch, channels)
    (h,) = empty(b)
    factory, constants = (complex_forward, ()) if b.is_complex() else (real_forward, (int(log),))
    tasks = batch * -(-channels // width)
    launch(factory, constants, tasks, array(a), array(b), array(h0), flags(reset), array(h), width)
    return h, h[:, -1].clone()


@torch.library.custom_op("seqmem::linear_scan_backward", mutates_args=())
def scan_backward(
    a: Tensor, h: Tensor, h0: Tensor, reset: Tensor | None, log: bool, dh: Tensor | None, dfinal: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a, b and h0."""
    batch, _, channels = h.shape
    width = block_width(batch, channels)
    dh = torch.zeros_like(h) if dh is None else dh
    da, db, dh0 = empty(h, h, h0)
    given = (array(a), array(h), array(h0), flags(reset), array(dh), optional(dfinal, h0))
    factory, constants = (complex_backward, ()) if h.is_complex() else (real_backward, (int(log),))
    tasks = batch * -(-channels // width)
    launch(factory, constants, tasks, *given, array(da), array(db), array(dh0), width)
    return da, db, dh0


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, h0, reset, ctx.log = inputs
    ctx.save_for_backward(a, output[0], h0, reset)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, dh: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
    return *scan_backward(*ctx.saved_tensors, ctx.log, dh, dfinal), None, None


scan.register_fake(lambda a, b, h0, reset, log: empty(b, h0))
scan_backward.register_fake(lambda a, h, h0, *_: empty(h, h, h0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("linear_scan"))
