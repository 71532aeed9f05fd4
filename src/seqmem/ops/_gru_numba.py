"""Numba kernels of one GRU step, and the loop over time around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqmem.ops._arrays import array, empty, refuse_vmap
from seqmem.ops._cells import PIECE, beginning, by_time, many_empty, pieces, states_before
from seqmem.ops._launch import jit, run_serially
from seqmem.ops._math import sigmoid, tanh
from seqmem.ops._operator import operator


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


@operator("seqmem::gru")
def scan(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    bias: Tensor | None,
    reset_gate: bool,
    mask: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(h, final state)."""
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    longest = min(time, PIECE)
    (y,) = many_empty(x, (batch, time, hidden))
    gates, recurrent = many_empty(x, (longest, batch, 3 * hidden), (batch, 3 * hidden))
    out, inner, before = many_empty(x, *[(longest, batch, hidden)] * 2, (longest + 1, batch, hidden))
    before[0] = beginning(h0, reset)
    fixed = (array(gates), _bias(bias, h0), reset_gate, array(recurrent), array(before), array(inner))
    turned = weight.detach().mT
    for piece in pieces(time, mask, reset):
        by_time(gates, x, piece)
        for state, t in zip(before.unbind(), range(piece.size), strict=False):
            torch.mm(state, turned, out=recurrent)
            run_serially(make_forward, *fixed, piece.padding, piece.reset, array(out), t)
        y[:, piece.start : piece.stop] = out[: piece.size].transpose(0, 1)
        before[0] = before[piece.size]
    return y, before[0].clone()


@operator("seqmem::gru_backward")
def scan_backward(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    bias: Tensor | None,
    reset_gate: bool,
    mask: Tensor | None,
    reset: Tensor | None,
    y: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0 and bias."""
    batch, time, hidden = y.shape
    longest = min(time, PIECE)
    dh = torch.zeros_like(h0) if dh is None else dh.clone().contiguous()
    (dx,) = many_empty(x, tuple(x.shape))
    dweight, dbias = torch.zeros(weight.shape, dtype=weight.dtype), y.new_zeros(hidden)
    gates, recurrent, dgates, drecurrent = many_empty(y, *[(longest, batch, 3 * hidden)] * 4)
    out, inner, dout = many_empty(y, *[(longest, batch, hidden)] * 3)
    before, through = many_empty(y, (longest + 1, batch, hidden), (batch, hidden))
    turned, added = weight.detach().mT, _bias(bias, h0)
    buffers = [array(d) for d in (dout, dh, dgates, drecurrent, through)]
    for piece in reversed(pieces(time, mask, reset)):
        states = states_before(piece, h0, y, reset, before).flatten(0, 1)
        by_time(gates, x, piece)
        torch.mm(states, turned, out=recurrent[: piece.size].flatten(0, 1))
        for t, product in zip(range(piece.size), array(recurrent), strict=False):
            run_serially(make_forward, array(gates), added, reset_gate, product, array(before), array(inner),
                         piece.padding, piece.reset, array(out), t)  # fmt: skip
        by_time(dout, dy, piece)
        for t, back in reversed(list(enumerate(drecurrent[: piece.size].unbind()))):
            run_serially(make_backward, array(gates), reset_gate, array(before), array(inner), piece.padding,
                         piece.reset, *buffers, t)  # fmt: skip
            torch.addmm(through, back, weight, out=dh)
        dx[:, piece.start : piece.stop] = dgates[: piece.size].transpose(0, 1)
        whole = drecurrent[: piece.size].flatten(0, 1)
        dweight.addmm_(whole.mT, states)
        dbias += whole[:, 2 * hidden :].sum(0)
    return dx, dweight, beginning(dh, reset), dbias


def _bias(bias: Tensor | None, like: Tensor) -> Any:
    return array(like.new_zeros(like.shape[-1]) if bias is None else bias)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, h0, bias, ctx.reset_gate, mask, reset = inputs
    ctx.save_for_backward(x, weight, h0, bias, mask, reset, output[0])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
    x, weight, h0, bias, mask, reset, y = ctx.saved_tensors
    dx, dweight, dh0, dbias = scan_backward(x, weight, h0, bias, ctx.reset_gate, mask, reset, y, dy, dh)
    return dx, dweight, dh0, None if bias is None else dbias, None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return x.new_empty(*x.shape[:2], weight.shape[1]), *empty(h0)


@scan_backward.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return *empty(x, weight, h0), h0.new_empty(h0.shape[-1])


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("gru"))
