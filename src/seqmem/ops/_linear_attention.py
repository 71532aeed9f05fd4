"""Linear attention with decay as four rank-one scans: the output, and the gradients of values, keys and queries.

With dS_t the gradient of the loss with respect to S_t:
    S_t  = a_t S_{t-1} + k_t v_t^T              o_t  = S_t^T q_t      dq_t = S_t do_t
    dS_t = a_{t+1} dS_{t+1} + q_t do_t^T        dv_t = dS_t^T k_t     dk_t = dS_t v_t
The gradient of the log-decay, <a_t S_{t-1}, dS_t>, follows from the products of the other gradients (see
``decay_gradient``), so that no state is stored and nothing is divided by the decay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numba import prange
from torch import Tensor

from seqmem.ops._arrays import empty, refuse_vmap
from seqmem.ops._launch import jit, launch
from seqmem.ops._matrix_state import no_reset
from seqmem.ops._operator import operator
from seqmem.ops._rank1_scan import rank1_scan


def make_decay_gradient(parallel: int) -> Callable[..., None]:
    """The kernel of :func:`decay_gradient`; sums in float64, because a sum over all of time is small where its terms
    are not."""

    @jit(parallel)
    def kernel(gain, a, reset, last, tasks):  # type: ignore[no-untyped-def]
        time, heads, decays = gain.shape[1], gain.shape[2], gain.shape[3]
        for task in prange(tasks):
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


def flags(q: Tensor, reset: Tensor | None) -> Tensor:
    """``reset`` as the kernels read it."""
    return no_reset(q) if reset is None else reset.contiguous()


def state_before(s: Tensor, a: Tensor, reset: Tensor) -> Tensor:
    """The gradient of the state before the first step, from that of the state just decayed. a: (batch, time, heads, 1 |
    key)."""
    return torch.where(reset[:, 0, None, None, None], 0, a[:, 0, :, :, None] * s)


@operator("seqmem::linear_attention")
def scan(q: Tensor, k: Tensor, v: Tensor, g: Tensor, s0: Tensor, reset: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(o, final state, the decay exp g), with g: (batch, time, heads, 1 | key); all but reset of one dtype."""
    q, k, v, s0 = (x.contiguous() for x in (q, k, v, s0))
    a = g.exp().contiguous()
    return *rank1_scan(q, k, v, a, flags(q, reset), s0), a


@operator("seqmem::linear_attention_backward")
def scan_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s0: Tensor,
    reset: Tensor | None,
    s: Tensor,
    a: Tensor,
    do: Tensor | None,
    ds: Tensor | None,
    gated: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v, g (undefined unless ``gated``) and s0."""
    q, k, v, s0 = (x.contiguous() for x in (q, k, v, s0))
    do = torch.zeros_like(v) if do is None else do.contiguous()
    ds = torch.zeros_like(s0) if ds is None else ds.contiguous()
    starts = flags(q, reset)
    dv, first = rank1_scan(k, q, do, a, starts, ds, backward=True)
    dk, _ = rank1_scan(v, do, q, a, starts, ds.mT.contiguous(), side="columns", backward=True)
    dq, _ = rank1_scan(do, v, k, a, starts, s0.mT.contiguous(), side="columns")
    dg = torch.empty_like(a)
    if gated:
        last = (s * ds).sum(-1)  # (batch, heads, key)
        if a.shape[-1] == 1:
            dg[..., 0] = torch.linalg.vecdot(q, dq) - torch.linalg.vecdot(k, dk)
            last = last.sum(-1, keepdim=True)
        else:
            torch.mul(q, dq, out=dg).addcmul_(k, dk, value=-1)
        decay_gradient(dg, a, starts, last)
    return dq, dk, dv, dg, state_before(first, a, starts)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, _, s0, reset = inputs
    ctx.save_for_backward(q, k, v, s0, reset, *output[1:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])


def _gradient(ctx: Any, do: Tensor | None, ds: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    gated = ctx.needs_input_grad[3]
    dq, dk, dv, dg, ds0 = scan_backward(*ctx.saved_tensors, do, ds, gated)
    return dq, dk, dv, dg if gated else None, ds0, None


scan.register_fake(lambda q, k, v, g, s0, reset: empty(v, s0, g))
scan_backward.register_fake(lambda q, k, v, s0, reset, s, a, *_: empty(q, k, v, a, s0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("ssd or gated_linear_attention"))
