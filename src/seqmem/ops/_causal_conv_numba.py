"""Numba kernels of y_t = bias + sum_j weight_j x_{t-(kernel-1)+j}, per channel.

One task is one batch row and ``SPAN`` time steps. Positions p count from the oldest input in the state: p = t + j. The
rows before position kernel - 1 are the state's, the others x's. ``reach`` is (batch, time): how many inputs before t
are seen there, at most kernel - 1; or (0, 0) where all are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange
from torch import Tensor

from seqmem.ops._arrays import array, empty, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._operator import operator

SPAN = 256


@njit(inline="always")  # at each call LLVM must see which one array a row comes from, to vectorise
def add_product(out, x, y):  # type: ignore[no-untyped-def]
    for c in range(out.shape[0]):
        out[c] += x[c] * y[c]


def forward_kernel(kernel: int, parallel: int) -> Callable[..., None]:
    old = kernel - 1  # positions before it are the state's

    @jit(parallel)
    def forward(x, taps, bias, state, reach, y, tasks):  # type: ignore[no-untyped-def]
        time = x.shape[1]
        spans = (time + SPAN - 1) // SPAN
        for task in prange(tasks):
            i, begin = task // spans, task % spans * SPAN
            for t in range(begin, min(begin + SPAN, time)):
                yt = y[i, t]
                for c in range(yt.shape[0]):
                    yt[c] = bias[c]
                for j in range(old - reach[i, t] if reach.shape[0] > 0 else 0, kernel):
                    p = t + j
                    if p >= old:
                        add_product(yt, taps[j], x[i, p - old])
                    else:
                        add_product(yt, taps[j], state[i, p])

    return forward


def backward_kernel(kernel: int, parallel: int) -> Callable[..., None]:
    old = kernel - 1

    @jit(parallel)
    def backward(x, taps, state, reach, dy, dx, dtaps, dbias, dstate, tasks):  # type: ignore[no-untyped-def]
        """All gradients are 0 before. dtaps: (tasks, kernel, channels), dbias: (tasks, channels): each task its own."""
        time = x.shape[1]
        spans = (time + SPAN - 1) // SPAN
        for task in prange(tasks):
            i, begin = task // spans, task % spans * SPAN
            end = min(begin + SPAN, time)
            # the span's positions; the state's go with the first span
            for p in range(begin + (old if begin > 0 else 0), end + old):
                for j in range(max(0, p - time + 1), min(kernel, p + 1)):
                    t = p - j
                    if reach.shape[0] > 0 and j < old - reach[i, t]:
                        continue
                    if p >= old:
                        add_product(dx[i, p - old], taps[j], dy[i, t])
                        add_product(dtaps[task, j], x[i, p - old], dy[i, t])
                    else:
                        add_product(dstate[i, p], taps[j], dy[i, t])
                        add_product(dtaps[task, j], state[i, p], dy[i, t])
            db = dbias[task]
            for t in range(begin, end):
                dyt = dy[i, t]
                for c in range(db.shape[0]):
                    db[c] += dyt[c]

    return backward


@operator("seqmem::causal_conv")
def convolve(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor, reach: Tensor | None) -> Tensor:
    """y; all of one dtype but reach, which is int64 or None."""
    (y,) = empty(x)
    tasks = x.shape[0] * -(-x.shape[1] // SPAN)
    given = (array(x), array(weight.t()), array(bias), array(state), _reach(reach), array(y))
    launch(forward_kernel, (weight.shape[1],), tasks, *given)
    return y


@operator("seqmem::causal_conv_backward")
def convolve_backward(
    x: Tensor, weight: Tensor, state: Tensor, reach: Tensor | None, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, bias and state."""
    (batch, time, channels), kernel = x.shape, weight.shape[1]
    tasks = batch * -(-time // SPAN)
    dx, dstate = x.new_zeros(x.shape), x.new_zeros(state.shape)
    dtaps, dbias = x.new_zeros(tasks, kernel, channels), x.new_zeros(tasks, channels)
    given = (array(x), array(weight.t()), array(state), _reach(reach), array(dy))
    launch(backward_kernel, (kernel,), tasks, *given, array(dx), array(dtaps), array(dbias), array(dstate))
    return dx, dtaps.sum(0).t().contiguous(), dbias.sum(0), dstate


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, state, reach = inputs
    ctx.save_for_backward(x, weight, state, reach)


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return *convolve_backward(*ctx.saved_tensors, dy), None


convolve.register_fake(lambda x, *_: empty(x)[0])
convolve_backward.register_fake(
    lambda x, weight, state, *_: (*empty(x, weight), x.new_empty(x.shape[2]), *empty(state))
)
convolve.register_autograd(_gradient, setup_context=_remember)
convolve.register_vmap(refuse_vmap("causal_conv"))


def _reach(reach: Tensor | None) -> Any:
    return np.empty((0, 0), np.int64) if reach is None else array(reach)
