"""Numba kernels of h_t = a_t * h_{t-1} + b_t.

One task is one batch row and one block of ``width`` neighbouring channels. ``reset`` is (batch, time) uint8, or (0, 0)
where there are none. Every time step is taken as row views, and inner loops run over such a view's length: LLVM then
sees that no index is negative, and vectorises. The backward pass walks rows from their ends, so that memory is read in
one direction throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, flags, optional, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._math import exp
from seqmem.ops._operator import operator

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
                for c in range(at.shape[0]):
                    gate = exp(at[c]) if log else at[c]
                    s[c] = gate * s[c] + bt[c]
                    ht[c] = s[c]

    return forward


@njit(inline="always")  # three times, each with one known array of states before: LLVM must see that to vectorise
def real_step_back(log, s, a, before, dh, da, db):  # type: ignore[no-untyped-def]
    for c in range(a.shape[0] - 1, -1, -1):
        gate = exp(a[c]) if log else a[c]
        ds = s[c] + dh[c]
        db[c] = ds
        da[c] = ds * before[c] * gate if log else ds * before[c]
        s[c] = ds * gate


def real_backward(log: int, parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def backward(a, h, h0, reset, dh, dfinal, da, db, dh0, width, tasks):  # type: ignore[no-untyped-def]
        time, channels = a.shape[1], a.shape[2]
        blocks = (channels + width - 1) // width
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * width
            high = min(low + width, channels)
            s, zero = np.zeros(high - low, a.dtype), np.zeros(high - low, a.dtype)  # s: the state's gradient
            if dfinal.shape[0] > 0:
                for c in range(high - low):
                    s[c] = dfinal[i, low + c]
            for t in range(time - 1, -1, -1):
                at, dht = a[i, t, low:high], dh[i, t, low:high]
                dat, dbt = da[i, t, low:high], db[i, t, low:high]
                if reset.shape[0] > 0 and reset[i, t] > 0:
                    real_step_back(log, s, at, zero, dht, dat, dbt)
                    for c in range(high - low):
                        s[c] = 0
                elif t > 0:
                    real_step_back(log, s, at, h[i, t - 1, low:high], dht, dat, dbt)
                else:
                    real_step_back(log, s, at, h0[i, low:high], dht, dat, dbt)
            for c in range(high - low):
                dh0[i, low + c] = s[c]

    return backward


def complex_forward(parallel: int) -> Callable[..., None]:
    """As ``real_forward``; real and imaginary parts alternate along the channels of every array."""

    @jit(parallel)
    def forward(a, b, h0, reset, h, width, tasks):  # type: ignore[no-untyped-def]
        time, numbers = b.shape[1], b.shape[2]
        blocks = (numbers + 2 * width - 1) // (2 * width)
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * 2 * width
            high = min(low + 2 * width, numbers)
            s = h0[i, low:high].copy()
            for t in range(time):
                if reset.shape[0] > 0 and reset[i, t]:
                    for c in range(high - low):
                        s[c] = 0
                at, bt, ht = a[i, t, low:high], b[i, t, low:high], h[i, t, low:high]
                for c in range(0, at.shape[0], 2):
                    re = at[c] * s[c] - at[c + 1] * s[c + 1] + bt[c]
                    im = at[c] * s[c + 1] + at[c + 1] * s[c] + bt[c + 1]
                    s[c], s[c + 1] = re, im
                    ht[c], ht[c + 1] = re, im

    return forward


@njit(inline="always")
def complex_step_back(s, a, before, dh, da, db):  # type: ignore[no-untyped-def]
    for k in range(a.shape[0] // 2 - 1, -1, -1):
        c = 2 * k
        re, im = s[c] + dh[c], s[c + 1] + dh[c + 1]
        db[c], db[c + 1] = re, im
        da[c] = re * before[c] + im * before[c + 1]
        da[c + 1] = im * before[c] - re * before[c + 1]
        s[c] = re * a[c] + im * a[c + 1]
        s[c + 1] = im * a[c] - re * a[c + 1]


def complex_backward(parallel: int) -> Callable[..., None]:
    """As ``real_backward``, with the conjugates of the gate and of the state, as PyTorch's gradients want them."""

    @jit(parallel)
    def backward(a, h, h0, reset, dh, dfinal, da, db, dh0, width, tasks):  # type: ignore[no-untyped-def]
        time, numbers = a.shape[1], a.shape[2]
        blocks = (numbers + 2 * width - 1) // (2 * width)
        for task in prange(tasks):
            i, low = task // blocks, task % blocks * 2 * width
            high = min(low + 2 * width, numbers)
            s, zero = np.zeros(high - low, a.dtype), np.zeros(high - low, a.dtype)
            if dfinal.shape[0] > 0:
                for c in range(high - low):
                    s[c] = dfinal[i, low + c]
            for t in range(time - 1, -1, -1):
                at, dht = a[i, t, low:high], dh[i, t, low:high]
                dat, dbt = da[i, t, low:high], db[i, t, low:high]
                if reset.shape[0] > 0 and reset[i, t] > 0:
                    complex_step_back(s, at, zero, dht, dat, dbt)
                    for c in range(high - low):
                        s[c] = 0
                elif t > 0:
                    complex_step_back(s, at, h[i, t - 1, low:high], dht, dat, dbt)
                else:
                    complex_step_back(s, at, h0[i, low:high], dht, dat, dbt)
            for c in range(high - low):
                dh0[i, low + c] = s[c]

    return backward


def block_width(batch: int, channels: int) -> int:
    """Whole rows, or less where the batch alone gives the threads too few tasks."""
    blocks = -(-channels // WIDEST)
    while batch * blocks < 2 * torch.get_num_threads() > 2 and channels >= 2 * blocks * NARROWEST:
        blocks *= 2
    return -(-channels // (blocks * 16)) * 16


@operator("seqmem::linear_scan")
def scan(a: Tensor, b: Tensor, h0: Tensor, reset: Tensor | None, log: bool) -> tuple[Tensor, Tensor]:
    """(h, final state); a, b and h0 of one dtype."""
    batch, _, channels = b.shape
    width = block_width(batch, channels)
    (h,) = empty(b)
    factory, constants = (complex_forward, ()) if b.is_complex() else (real_forward, (int(log),))
    tasks = batch * -(-channels // width)
    launch(factory, constants, tasks, array(a), array(b), array(h0), flags(reset), array(h), width)
    return h, h[:, -1].clone()


@operator("seqmem::linear_scan_backward")
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
