"""The (gated) delta rule and its gradients. No state is stored, and nothing is divided by the decay.

With r_t = v_t - (a_t S_{t-1})^T k_t, the residual, which is kept, u_t = beta_t r_t and dS_t the gradient with respect
to S_t:
    S_t  = a_t S_{t-1} + k_t u_t^T                             dq_t = S_t do_t
    dS_t = a_{t+1} (dS_{t+1} - k_{t+1} dv_{t+1}^T) + q_t do_t^T
    du_t = dS_t^T k_t      dbeta_t = <du_t, r_t>      dv_t = beta_t du_t      dk_t = dS_t u_t - (a_t S_{t-1}) dv_t

The gradient of the log-decay is dg_t = <a_t S_{t-1}, dS_t - k_t dv_t^T>. Write D_t = <S_t, dS_t>. From the two
recurrences, D_t = dg_{t+1} + <q_t, dq_t>, and D_t = dg_t + <k_t, a_t S_{t-1} dv_t> + <u_t, du_t> = dg_t + <v_t - r_t,
dv_t> + <r_t, dv_t>; hence dg_t = dg_{t+1} + <q_t, dq_t> - <v_t, dv_t>.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.ops._arrays import empty, refuse_vmap
from seqmem.ops._delta_kernels import make_backward, make_forward
from seqmem.ops._launch import launch
from seqmem.ops._linear_attention import decay_gradient, flags, state_before
from seqmem.ops._operator import operator


@operator("seqmem::delta_rule")
def scan(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, s0: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(o, final state, residual, the decay exp g); all but reset of one dtype. Without g the kernels leave out the
    decay's multiplication, and the decay has no elements."""
    q, k, v, beta, s0 = (x.contiguous() for x in (q, k, v, beta, s0))
    a = q.new_empty(0, 0, 0) if g is None else g.exp().contiguous()
    o, residual, s = empty(v, v, s0)
    arrays = [x.numpy() for x in (k, q, k, v, beta, a, flags(q, reset), s0, residual, o, s)]
    launch(make_forward, (q.shape[3], v.shape[3], int(g is not None), 1), q.shape[0] * q.shape[2], *arrays)
    return o, s, residual, a


@operator("seqmem::delta_rule_backward")
def scan_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    beta: Tensor,
    s0: Tensor,
    reset: Tensor | None,
    s: Tensor,
    residual: Tensor,
    a: Tensor,
    do: Tensor | None,
    ds: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v, beta, g (without elements where there is no v, which only it needs) and s0."""
    q, k, beta, s0 = (x.contiguous() for x in (q, k, beta, s0))
    do = torch.zeros_like(residual) if do is None else do.contiguous()
    ds = torch.zeros_like(s0) if ds is None else ds.contiguous()
    starts = flags(q, reset)
    (key, value), gated, tasks = s0.shape[2:], int(v is not None), q.shape[0] * q.shape[2]
    dv, du, first = empty(do, do, s0)
    arrays = [x.numpy() for x in (q, do, k, dv, k, beta, a, starts, ds, du, first)]
    launch(make_backward, (key, value, gated, 1), tasks, *arrays)
    dbeta = torch.linalg.vecdot(du, residual)
    u = torch.mul(residual, beta.unsqueeze(-1), out=du)  # du is done with
    # Both states transposed, so that the products are reads again: dS_t u_t, then (a_t S_{t-1}) dv_t and S_t do_t
    s0_t, ds_t = s0.mT.contiguous(), ds.mT.contiguous()
    dq, dk, lost, unused = empty(q, k, k, s0_t)
    arrays = [x.numpy() for x in (do, q, dv, k, u, beta, a, starts, ds_t, dk, unused)]
    launch(make_backward, (value, key, gated, 0), tasks, *arrays)
    arrays = [x.numpy() for x in (dv, do, u, k, beta, a, starts, s0_t, lost, dq, unused)]
    launch(make_forward, (value, key, gated, 0), tasks, *arrays)
    dk -= lost
    if v is None:
        decay, dg = torch.ones_like(beta[:, :1]), torch.empty_like(a)
    else:
        decay, gain = a, torch.linalg.vecdot(q, dq) - torch.linalg.vecdot(v, dv)  # (batch, time, heads)
        dg = decay_gradient(gain[..., None], a[..., None], starts, (s * ds).sum((-2, -1))[..., None])[..., 0]
    return dq, dk, dv, dbeta, dg, state_before(first, decay[..., None], starts)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, beta, g, s0, reset = inputs
    ctx.gated = g is not None
    ctx.save_for_backward(q, k, v if ctx.gated else None, beta, s0, reset, *output[1:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[2:])


def _gradient(ctx: Any, do: Tensor | None, ds: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    dq, dk, dv, dbeta, dg, ds0 = scan_backward(*ctx.saved_tensors, do, ds)
    return dq, dk, dv, dbeta, dg if ctx.gated else None, ds0, None


def _shapes(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, s0: Tensor, _: Any) -> tuple[Tensor, ...]:
    return *empty(v, s0, v), q.new_empty(0, 0, 0) if g is None else empty(g)[0]


scan.register_fake(_shapes)
scan_backward.register_fake(lambda q, k, v, beta, s0, reset, s, residual, a, *_: empty(q, k, residual, beta, a, s0))
scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("delta_rule"))
