"""Numba kernels of one GRU step, and the loop over time around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqmem.ops._arrays import array, empty, refuse_vmap
from seqmem.ops._cells import flags_by_time, padding_by_time
from seqmem.ops._launch import jit, run_serially
from seqmem.ops._math import sigmoid, tanh


def make_forward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def step(gates, bias, has_reset_gate, recurrent, before, inner, padding, reset, y, t):  # type: ignore[no-untyped-def]
        # gates: (time, batch, 3 * hidden), at t what x contributes; becomes the activations. recurrent: U h at t
        # before: (time + 1, batch, hidden), what the step starts from; inner: U_n h + bias, kept for the way back
        batch, hidden = before.shape[1], before.shape[2]
        one = y.dtype.type(1)
        for b in range(batch):
            r, z, n = gates[t, b, :hidden], gates[t, b, hidden : 2 * hidden], gates[t, b, 2 * hidden :]
            ur, uz, un = recurrent[b, :hidden], recurrent[b, hidden : 2 * hidden], recurrent[b, 2 * hidden :]
            h, h1, a, yt = before[t, b], before[t + 1, b], inner[t, b], y[t, b]
            for j in range(h.shape[0]):
                a[j] = un[j] + bias[j]
                rj = sigmoid(r[j] + ur[j], one) if has_reset_gate else one
                zj = sigmoid(z[j] + uz[j], one)
                nj = tanh(n[j] + rj * a[j], one)
                r[j], z[j], n[j] = rj, zj, nj
                h1[j] = (one - zj) * nj + zj * h[j]
            if padding.shape[0] > 0 and padding[t, b] > 0:
                for j in range(hidden):
                    h1[j] = h[j]
            for j in range(hidden):
                yt[j] = h1[j]
            if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                for j in range(hidden):
                    h1[j] = one - one

    return step


def make_backward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def step(gates, has_reset_gate, before, inner, padding, reset, dy, dh, dgates, drecurrent, through, t):  # type: ignore[no-untyped-def]
        # dh: (batch, hidden), the gradient of the state after the step, without y's. dgates, drecurrent: those of x and
        # of U h, which differ in n; through: what of dh reaches the state before without passing U
        batch, hidden = dh.shape[0], dh.shape[1]
        one = dy.dtype.type(1)
        zero = one - one
        for b in range(batch):
            r, z, n = gates[t, b, :hidden], gates[t, b, hidden : 2 * hidden], gates[t, b, 2 * hidden :]
            dr, dz, dn = dgates[t, b, :hidden], dgates[t, b, hidden : 2 * hidden], dgates[t, b, 2 * hidden :]
            vr, vz = drecurrent[t, b, :hidden], drecurrent[t, b, hidden : 2 * hidden]
            vn = drecurrent[t, b, 2 * hidden :]
            h, a, dyt, dht, rest = before[t, b], inner[t, b], dy[t, b], dh[b], through[b]
            if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                for j in range(hidden):
                    dht[j] = zero
            if padding.shape[0] > 0 and padding[t, b] > 0:
                for j in range(hidden):
                    rest[j] = dht[j] + dyt[j]
                    dr[j], dz[j], dn[j], vr[j], vz[j], vn[j] = zero, zero, zero, zero, zero, zero
            else:
                for j in range(h.shape[0]):
                    up = dht[j] + dyt[j]
                    dn[j] = up * (one - z[j]) * (one - n[j] * n[j])
                    dz[j] = up * (h[j] - n[j]) * z[j] * (one - z[j])
                    dr[j] = dn[j] * a[j] * r[j] * (one - r[j]) if has_reset_gate else zero
                    vr[j], vz[j], vn[j] = dr[j], dz[j], dn[j] * r[j]
                    rest[j] = up * z[j]

    return step


@torch.library.custom_op("seqmem::gru", mutates_args=())
def scan(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    bias: Tensor | None,
    reset_gate: bool,
    mask: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(h, final state, the gates' activations, the state before every step, U_n h + bias)."""
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    y = x.new_empty(time, batch, hidden)
    before, inner, recurrent = x.new_empty(time + 1, batch, hidden), torch.empty_like(y), x.new_empty(batch, 3 * hidden)
    before[0] = h0 if reset is None else h0.masked_fill(reset[:, :1], 0)
    added = array(x.new_zeros(hidden) if bias is None else bias)
    fixed = (array(gates), added, reset_gate, recurrent.numpy(), array(before), array(inner))
    flags, turned = (padding_by_time(mask), flags_by_time(reset), array(y)), weight.detach().mT
    for state, t in zip(before.unbind(), range(time), strict=False):
        torch.mm(state, turned, out=recurrent)
        run_serially(make_forward, *fixed, *flags, t)
    return y.transpose(0, 1), before[-1].clone(), gates, before, inner


@torch.library.custom_op("seqmem::gru_backward", mutates_args=())
def scan_backward(
    weight: Tensor,
    reset_gate: bool,
    mask: Tensor | None,
    reset: Tensor | None,
    gates: Tensor,
    before: Tensor,
    inner: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0 and bias."""
    time, batch, hidden = inner.shape
    dy = torch.zeros_like(inner) if dy is None else dy.transpose(0, 1).contiguous()
    dh = inner.new_zeros(batch, hidden) if dh is None else dh.clone().contiguous()
    dgates, drecurrent = empty(gates, gates)
    through = torch.empty_like(dh)
    known = (array(gates), reset_gate, array(before), array(inner), padding_by_time(mask), flags_by_time(reset))
    buffers = (array(dy), dh.numpy(), dgates.numpy(), drecurrent.numpy(), through.numpy())
    each = drecurrent.unbind()
    for t in range(time - 1, -1, -1):
        run_serially(make_backward, *known, *buffers, t)
        torch.addmm(through, each[t], weight, out=dh)
    if reset is not None:
        dh = dh.masked_fill(reset[:, :1], 0)
    dweight = drecurrent.flatten(0, 1).mT @ before[:-1].flatten(0, 1)
    return dgates.transpose(0, 1), dweight, dh, drecurrent[..., 2 * hidden :].sum((0, 1))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, weight, _, bias, ctx.reset_gate, mask, reset = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(weight, mask, reset, *output[2:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[2:])


def _gradient(ctx: Any, dy: Tensor | None, dh: Tensor | None, *_: Any) -> tuple[Any, ...]:
    weight, mask, reset, *saved = ctx.saved_tensors
    dx, dweight, dh0, dbias = scan_backward(weight, ctx.reset_gate, mask, reset, *saved, dy, dh)
    return dx, dweight, dh0, dbias if ctx.has_bias else None, None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    y = x.new_empty(time, batch, hidden)
    over = x.new_empty(time + 1, batch, hidden)
    return y.transpose(0, 1), *empty(h0), x.new_empty(time, *x.shape[::2]), over, torch.empty_like(y)


@scan_backward.register_fake
def _(
    weight: Tensor, reset_gate: bool, mask: Any, reset: Any, gates: Tensor, before: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    like = before[0]
    return gates.new_empty(gates.shape).transpose(0, 1), *empty(weight, like), like.new_empty(like.shape[-1])


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("gru"))
