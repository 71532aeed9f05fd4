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
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seqmem.ops._delta_kernels import make_backward_errors, make_backward_keys, make_forward
from seqmem.ops._launch import launch
from seqmem.ops._linear_attention import decay_gradient, state_before


class DeltaRule(Function):
    """(q, k, v, beta, g or None, s0, reset) -> (o, final state). Without g the kernels leave out the decay's
    multiplication."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, s0: Tensor, reset: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, k, v, beta, s0 = (x.detach().contiguous() for x in (q, k, v, beta, s0))
        reset = reset.contiguous()
        gated = g is not None
        a = beta if g is None else g.detach().exp().contiguous()  # not read when there is no decay
        o, residual, s = torch.empty_like(v), torch.empty_like(v), torch.empty_like(s0)
        arrays = [x.numpy() for x in (q, k, v, beta, a, reset, s0, o, residual, s)]
        launch(make_forward, (q.shape[3], v.shape[3], int(gated)), q.shape[0] * q.shape[2], *arrays)
        ctx.gated = gated
        ctx.save_for_backward(q, k, v if gated else None, beta, a, s0, reset, residual, s)
        return o, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do: Tensor, ds: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, beta, a, s0, reset, residual, s = ctx.saved_tensors
        do, ds = do.contiguous(), ds.contiguous()
        constants, tasks = (q.shape[3], do.shape[3], int(ctx.gated)), q.shape[0] * q.shape[2]
        dv, du, first = torch.empty_like(do), torch.empty_like(do), torch.empty_like(s0)
        arrays = [x.numpy() for x in (q, k, do, beta, a, reset, ds, dv, du, first)]
        launch(make_backward_errors, constants, tasks, *arrays)
        dbeta = torch.linalg.vecdot(du, residual)
        u = torch.mul(residual, beta.unsqueeze(-1), out=du)  # du is done with
        dq, dk = torch.empty_like(q), torch.empty_like(k)
        arrays = [x.numpy() for x in (q, k, do, u, dv, a, reset, s0, ds, dq, dk)]
        launch(make_backward_keys, constants, tasks, *arrays)
        dg = None
        if ctx.gated:
            gain = torch.linalg.vecdot(q, dq) - torch.linalg.vecdot(v, dv)  # (batch, time, heads)
            last = (s * ds).sum((-2, -1))
            dg = decay_gradient(gain[..., None], a[..., None], reset, last[..., None])[..., 0]
        decay = a if ctx.gated else torch.ones_like(a[:, :1])
        return dq, dk, dv, dbeta, dg, state_before(first, decay[..., None], reset), None
