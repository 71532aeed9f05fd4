"""Decoding: one step of a recurrence, without autograd and with little hand-over. The kernels take addresses.

Called where :func:`seqmem.ops._dispatch.choose` says "step": plain CPU tensors of one dtype, float32 or float64, of
which no gradient is asked. Shapes as in the ops themselves, with time = 1. Nothing that is given is changed.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.ops import _step_kernels as kernels
from seqmem.ops._launch import run_serially

ZERO = {torch.float32: np.float32(0), torch.float64: np.float64(0)}


def _begin(state: Tensor | None, reset: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """The state to start from: zeros where there is none or where ``reset`` (batch, 1) empties it."""
    if state is None:
        return like.new_zeros(shape)
    return state if reset is None else state.masked_fill(reset.view(-1, *[1] * (state.ndim - 1)), 0)


BLAS_FROM = 5  # rows: fewer are quicker in our own loop than in torch's matrix product


def linear_step(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` of x (batch, inputs). For a single row torch reads the matrix at half the speed of memory."""
    batch, (outputs, inputs) = x.shape[0], weight.shape
    if batch >= BLAS_FROM or x.shape[1] != inputs:  # where shapes do not fit, torch says so
        return F.linear(x, weight, bias)
    x, y = x.contiguous(), x.new_empty((batch, outputs))
    offset = 0 if bias is None else bias.data_ptr()
    arrays = (x.data_ptr(), weight.data_ptr(), offset, y.data_ptr())
    run_serially(kernels.make_linear_step, *arrays, batch, outputs, inputs, ZERO[x.dtype])
    return y


def selective_step(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One step of :func:`seqmem.ops.selective_scan`."""
    h0 = _begin(h0, reset, (u.shape[0], *A.shape), u)
    u, dt, A, B, C, h0 = (x.contiguous() for x in (u, dt, A, B, C, h0))
    y, h = torch.empty_like(u), torch.empty_like(h0)
    arrays = [x.data_ptr() for x in (u, dt, A, B, C, h0, y, h)]
    run_serially(kernels.make_selective_step, *arrays, *h0.shape, ZERO[u.dtype])
    return y, h


def conv_step(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One step of :func:`seqmem.ops.causal_conv`."""
    state = _begin(state, reset, (x.shape[0], weight.shape[1] - 1, x.shape[2]), x)
    x, weight, state = x.contiguous(), weight.contiguous(), state.contiguous()
    bias = None if bias is None else bias.contiguous()
    y, new = torch.empty_like(x), torch.empty_like(state)
    arrays = [0 if a is None else a.data_ptr() for a in (x, weight, bias, state, y, new)]
    run_serially(kernels.make_conv_step, *arrays, x.shape[0], *weight.shape, ZERO[x.dtype])
    return y, new


def matrix_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    s0: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`seqmem.ops.ssd` (g: (batch, 1, heads) or None), of
    :func:`seqmem.ops.gated_linear_attention` (g: (batch, 1, heads, key)) or, with beta, of
    :func:`seqmem.ops.delta_rule`."""
    s0 = _begin(s0, reset, (q.shape[0], *q.shape[2:], v.shape[3]), q)
    q, k, v, s0 = q.contiguous(), k.contiguous(), v.contiguous(), s0.contiguous()
    g = None if g is None else g.contiguous()
    beta = None if beta is None else beta.contiguous()
    batch, heads, key, value = s0.shape
    o, s, u = torch.empty_like(v), torch.empty_like(s0), v.new_empty(value)
    arrays = [0 if a is None else a.data_ptr() for a in (q, k, v, g, beta, s0, u, o, s)]
    per_key = 0 if g is None else 1 if g.ndim == 3 else key
    run_serially(kernels.make_matrix_step, *arrays, batch * heads, key, value, per_key, ZERO[v.dtype])
    return o, s
