"""Numba kernels of one LSTM step, and the loop over time around them. A part that is left out is blended out: its
switch is 0, so that one kernel serves every variant."""

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
    def step(gates, peephole, on, before_h, before_c, padding, reset, y, t):  # type: ignore[no-untyped-def]
        # gates: (time, batch, 4 * hidden), at t what x contributes and U h; becomes the activations
        # before_h, before_c: (time + 1, batch, hidden), what the step starts from; t + 1 is written
        batch, hidden = before_h.shape[1], before_h.shape[2]
        one = y.dtype.type(1)
        pi, pf, po = peephole[0], peephole[1], peephole[2]
        ki, kf, kc, ko, kg, kh = on[0], on[1], on[2], on[3], on[4], on[5]
        for b in range(batch):
            i, f = gates[t, b, :hidden], gates[t, b, hidden : 2 * hidden]
            g, o = gates[t, b, 2 * hidden : 3 * hidden], gates[t, b, 3 * hidden :]
            h, c, h1, c1, yt = before_h[t, b], before_c[t, b], before_h[t + 1, b], before_c[t + 1, b], y[t, b]
            for j in range(h.shape[0]):
                ij = ki * sigmoid(i[j] + pi[j] * c[j], one) + (one - ki)
                fj = kf * sigmoid(f[j] + pf[j] * c[j], one) + kc * (one - ij) + (one - kf - kc)
                gj = kg * tanh(g[j], one) + (one - kg) * g[j]
                cj = fj * c[j] + ij * gj
                oj = ko * sigmoid(o[j] + po[j] * cj, one) + (one - ko)
                i[j], f[j], g[j], o[j], c1[j] = ij, fj, gj, oj, cj
                h1[j] = oj * (kh * tanh(cj, one) + (one - kh) * cj)
            if padding.shape[0] > 0 and padding[t, b] > 0:
                for j in range(hidden):
                    h1[j], c1[j] = h[j], c[j]
            for j in range(hidden):
                yt[j] = h1[j]
            if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                for j in range(hidden):
                    h1[j], c1[j] = one - one, one - one

    return step


def make_backward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def step(gates, peephole, on, before_c, padding, reset, dy, dh, dc, dgates, through, cells, t):  # type: ignore[no-untyped-def]
        # dh, dc: (batch, hidden), the gradient of the state after the step, dh without y's; dc becomes that before it
        # dgates: that of the gates' inputs; through: what of dh passes padding by; cells: c'
        batch, hidden = dh.shape[0], dh.shape[1]
        one = dy.dtype.type(1)
        zero = one - one
        pi, pf, po = peephole[0], peephole[1], peephole[2]
        ki, kf, kc, ko, kg, kh = on[0], on[1], on[2], on[3], on[4], on[5]
        for b in range(batch):
            i, f = gates[t, b, :hidden], gates[t, b, hidden : 2 * hidden]
            g, o = gates[t, b, 2 * hidden : 3 * hidden], gates[t, b, 3 * hidden :]
            di, df = dgates[t, b, :hidden], dgates[t, b, hidden : 2 * hidden]
            dg, do = dgates[t, b, 2 * hidden : 3 * hidden], dgates[t, b, 3 * hidden :]
            c, dyt, dht, dct, rest, after = before_c[t, b], dy[t, b], dh[b], dc[b], through[b], cells[t, b]
            if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                for j in range(hidden):
                    dht[j], dct[j] = zero, zero
            if padding.shape[0] > 0 and padding[t, b] > 0:
                for j in range(hidden):
                    rest[j] = dht[j] + dyt[j]
                    di[j], df[j], dg[j], do[j], after[j] = zero, zero, zero, zero, c[j]
            else:
                for j in range(c.shape[0]):
                    up = dht[j] + dyt[j]
                    cj = f[j] * c[j] + i[j] * g[j]
                    bent = tanh(cj, one)
                    do[j] = up * (kh * bent + (one - kh) * cj) * ko * o[j] * (one - o[j])
                    back = dct[j] + up * o[j] * (kh * (one - bent * bent) + (one - kh)) + do[j] * po[j]
                    df[j] = back * c[j] * kf * f[j] * (one - f[j])
                    di[j] = back * (g[j] - kc * c[j]) * ki * i[j] * (one - i[j])
                    dg[j] = back * i[j] * (kg * (one - g[j] * g[j]) + (one - kg))
                    dct[j] = back * f[j] + di[j] * pi[j] + df[j] * pf[j]
                    rest[j] = zero
                    after[j] = cj

    return step


def _peepholes(peephole: Tensor | None, like: Tensor) -> Tensor:
    return like.new_zeros(3, like.shape[-1]) if peephole is None else peephole


@torch.library.custom_op("seqmem::lstm", mutates_args=())
def scan(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    c0: Tensor,
    peephole: Tensor | None,
    switches: list[float],
    mask: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(h, final hidden, final cell, the gates' activations, and hidden and cell before every step)."""
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    y = x.new_empty(time, batch, hidden)
    before_h, before_c = x.new_empty(time + 1, batch, hidden), x.new_empty(time + 1, batch, hidden)
    first = torch.zeros_like(h0, dtype=torch.bool) if reset is None else reset[:, :1].expand_as(h0)
    before_h[0], before_c[0] = h0.masked_fill(first, 0), c0.masked_fill(first, 0)
    turned, on = weight.detach().mT, array(x.new_tensor(switches))
    fixed = (array(gates), array(_peepholes(peephole, h0)), on, array(before_h), array(before_c))
    flags = (padding_by_time(mask), flags_by_time(reset), array(y))
    for gate, hidden_before, t in zip(gates.unbind(), before_h.unbind(), range(time), strict=False):
        gate.addmm_(hidden_before, turned)
        run_serially(make_forward, *fixed, *flags, t)
    return y.transpose(0, 1), before_h[-1].clone(), before_c[-1].clone(), gates, before_h, before_c


@torch.library.custom_op("seqmem::lstm_backward", mutates_args=())
def scan_backward(
    weight: Tensor,
    peephole: Tensor | None,
    switches: list[float],
    mask: Tensor | None,
    reset: Tensor | None,
    gates: Tensor,
    before_h: Tensor,
    before_c: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0, c0 and the peepholes."""
    time, batch, hidden = before_h.shape[0] - 1, before_h.shape[1], before_h.shape[2]
    like = before_h[0]
    dy = like.new_zeros(time, batch, hidden) if dy is None else dy.transpose(0, 1).contiguous()
    dh, dc = (torch.zeros_like(like) if d is None else d.clone().contiguous() for d in (dh, dc))
    (dgates,) = empty(gates)
    through, cells, on = torch.empty_like(like), like.new_empty(time, batch, hidden), array(like.new_tensor(switches))
    known = (array(gates), array(_peepholes(peephole, like)), on, array(before_c))
    flags = (padding_by_time(mask), flags_by_time(reset), array(dy))
    buffers = (dh.numpy(), dc.numpy(), dgates.numpy(), through.numpy(), cells.numpy())
    each = dgates.unbind()
    for t in range(time - 1, -1, -1):
        run_serially(make_backward, *known, *flags, *buffers, t)
        torch.addmm(through, each[t], weight, out=dh)
    if reset is not None:
        dh, dc = dh.masked_fill(reset[:, :1], 0), dc.masked_fill(reset[:, :1], 0)
    dweight = dgates.flatten(0, 1).mT @ before_h[:-1].flatten(0, 1)
    di, df, _, do = dgates.chunk(4, -1)
    dpeephole = torch.stack(
        [(di * before_c[:-1]).sum((0, 1)), (df * before_c[:-1]).sum((0, 1)), (do * cells).sum((0, 1))]
    )
    return dgates.transpose(0, 1), dweight, dh, dc, dpeephole


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, weight, _, _, peephole, ctx.switches, mask, reset = inputs
    ctx.save_for_backward(weight, peephole, mask, reset, *output[3:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[3:])


def _gradient(ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, *_: Any) -> tuple[Any, ...]:
    weight, peephole, mask, reset, *saved = ctx.saved_tensors
    given = (weight, peephole, ctx.switches, mask, reset, *saved, dy, dh, dc)
    dx, dweight, dh0, dc0, dpeephole = scan_backward(*given)
    return dx, dweight, dh0, dc0, None if peephole is None else dpeephole, None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    over = x.new_empty(time + 1, batch, hidden)
    y = x.new_empty(time, batch, hidden).transpose(0, 1)
    return y, *empty(h0, c0), x.new_empty(time, *x.shape[::2]), over, torch.empty_like(over)


@scan_backward.register_fake
def _(
    weight: Tensor, peephole: Any, switches: Any, mask: Any, reset: Any, gates: Tensor, before_h: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    like = before_h[0]
    return gates.new_empty(gates.shape).transpose(0, 1), *empty(weight, like, like), like.new_empty(3, like.shape[-1])


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("lstm"))
