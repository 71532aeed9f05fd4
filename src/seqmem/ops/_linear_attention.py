"""Linear attention with decay as four rank-one scans: the output, and the gradients of values, keys and queries.

With dS_t the gradient of the loss with respect to S_t:
    S_t  = a_t S_{t-1} + k_t v_t^T              o_t  = S_t^T q_t      dq_t = S_t do_t
    dS_t = a_{t+1} dS_{t+1} + q_t do_t^T        dv_t = dS_t^T k_t     dk_t = dS_t v_t
The gradient of the log-decay, <a_t S_{t-1}, dS_t>, follows from the products of the other gradients (see
``decay_gradient``), so that no state is stored and nothing is divided by the decay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from numba import njit, prange
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seqmem.ops._launch import OPTIONS, launch
from seqmem.ops._rank1_scan import rank1_scan


@lru_cache(None)
def make_decay_gradient(parallel: int) -> Callable[..., None]:
    """The kernel of :func:`decay_gradient`; sums in float64, because a sum over all of time is small where its terms
    are not."""

    @njit(parallel=bool(parallel), **OPTIONS)
    def kernel(gain: Any, a: Any, reset: Any, last: Any, tasks: int) -> None:
        time, heads, decays = gain.shape[1], gain.shape[2], gain.shape[3]
        for task in prange(tasks + parallel - parallel):
            b, h = task // heads, task % heads
            for i in range(decays):
                total = float(last[b, h, i])
                for step in range(time):
                    t = time - 1 - step
                    total += gain[b, t, h, i]
                    if reset[b, t] or a[b, t, h, i] == 0:
                        total = 0.0
                    gain[b, t, h, i] = total

    return kernel


def decay_gradient(gain: Tensor, a: Tensor, reset: Tensor, last: Tensor) -> Tensor:
    """Gradient of the log-decay: the sum of ``gain`` from step t on, begun with ``last``, begun anew where nothing is
    carried over.

    Since S_t = a_t S_{t-1} + (what is written) and dS_t = a_{t+1} dS_{t+1} + (what the read-out gives back), <S_t,
    dS_t> is both dg_t + k_t dk_t and dg_{t+1} + q_t dq_t; hence dg_t = dg_{t+1} + gain_t with gain_t = q_t dq_t - k_t
    dk_t, and last = <S_T, dS_T>.

    gain, a: (batch, time, heads, decays), contiguous, gain is overwritten; last: (batch, heads, decays).
    """
    arrays = [tensor.numpy() for tensor in (gain, a, reset, last.contiguous())]
    launch(make_decay_gradient, (), gain.shape[0] * gain.shape[2], *arrays)
    return gain


def state_before(s: Tensor, a: Tensor, reset: Tensor) -> Tensor:
    """The gradient of the state before the first step, from that of the state just decayed. a: (batch, time, heads, 1 |
    key)."""
    return torch.where(reset[:, 0, None, None, None], 0, a[:, 0, :, :, None] * s)


class LinearAttention(Function):
    """(q, k, v, g, s0, reset) -> (o, final state), with g: (batch, time, heads, 1 | key)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, g: Tensor, s0: Tensor, reset: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, k, v, s0 = (x.detach().contiguous() for x in (q, k, v, s0))
        a, reset = g.detach().exp().contiguous(), reset.contiguous()
        o, s = rank1_scan(q, k, v, a, reset, s0)
        ctx.save_for_backward(q, k, v, a, s0, reset, s)
        return o, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor, ds: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, a, s0, reset, s = ctx.saved_tensors
        do, ds = do.contiguous(), ds.contiguous()
        s0_t, ds_t = s0.mT.contiguous(), ds.mT.contiguous()  # (batch, heads, value, key)
        dv, first = rank1_scan(k, q, do, a, reset, ds, backward=True)
        dk, _ = rank1_scan(v, do, q, a, reset, ds_t, side="columns", backward=True)
        dq, _ = rank1_scan(do, v, k, a, reset, s0_t, side="columns")
        dg = None
        if ctx.needs_input_grad[3]:
            last = (s * ds).sum(-1)  # (batch, heads, key)
            if a.shape[-1] == 1:
                gain = (torch.linalg.vecdot(q, dq) - torch.linalg.vecdot(k, dk)).unsqueeze(-1)
                last = last.sum(-1, keepdim=True)
            else:
                gain = (q * dq).addcmul_(k, dk, value=-1)
            dg = decay_gradient(gain, a, reset, last)
        return dq, dk, dv, dg, state_before(first, a, reset), None
