"""Numba kernels of one LSTM step, and the loop over time around them. A part that is left out is blended out: its
switch is 0, so that one kernel serves every variant."""

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


@operator("seqmem::lstm")
def scan(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    c0: Tensor,
    peephole: Tensor | None,
    switches: list[float],
    mask: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(h, final hidden, final cell, the cell that every piece starts from)."""
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    parts, longest = pieces(time, mask, reset), min(time, PIECE)
    y, begun = many_empty(x, (batch, time, hidden), (len(parts), batch, hidden))
    gates, out = many_empty(x, (longest, batch, 4 * hidden), (longest, batch, hidden))
    before_h, before_c = many_empty(x, *[(longest + 1, batch, hidden)] * 2)
    before_h[0], before_c[0] = beginning(h0, reset), beginning(c0, reset)
    turned, on = weight.detach().mT, array(x.new_tensor(switches))
    fixed = (array(gates), array(_peepholes(peephole, h0)), on, array(before_h), array(before_c))
    for piece in parts:
        begun[piece.number] = before_c[0]
        each = by_time(gates, x, piece).unbind()
        for gate, hidden_before, t in zip(each, before_h.unbind(), range(piece.size), strict=False):
            gate.addmm_(hidden_before, turned)
            run_serially(make_forward, *fixed, piece.padding, piece.reset, array(out), t)
        y[:, piece.start : piece.stop] = out[: piece.size].transpose(0, 1)
        before_h[0], before_c[0] = before_h[piece.size], before_c[piece.size]
    return y, before_h[0].clone(), before_c[0].clone(), begun


@operator("seqmem::lstm_backward")
def scan_backward(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    peephole: Tensor | None,
    switches: list[float],
    mask: Tensor | None,
    reset: Tensor | None,
    y: Tensor,
    begun: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0, c0 and the peepholes."""
    batch, time, hidden = y.shape
    parts, longest = pieces(time, mask, reset), min(time, PIECE)
    dh, dc = (torch.zeros_like(h0) if d is None else d.clone().contiguous() for d in (dh, dc))
    (dx,) = many_empty(x, tuple(x.shape))
    dweight, dpeephole = torch.zeros(weight.shape, dtype=weight.dtype), y.new_zeros(3, hidden)
    gates, dgates = many_empty(y, *[(longest, batch, 4 * hidden)] * 2)
    out, cells, dout = many_empty(y, *[(longest, batch, hidden)] * 3)
    before_h, before_c, through = many_empty(y, *[(longest + 1, batch, hidden)] * 2, (batch, hidden))
    turned, on = weight.detach().mT, array(y.new_tensor(switches))
    known = (array(gates), array(_peepholes(peephole, h0)), on)
    buffers = [array(d) for d in (dout, dh, dc, dgates, through, cells)]
    for piece in reversed(parts):
        before = states_before(piece, h0, y, reset, before_h).flatten(0, 1)
        by_time(gates, x, piece).flatten(0, 1).addmm_(before, turned)
        before_c[0] = begun[piece.number]
        for t in range(piece.size):
            run_serially(make_forward, *known, array(before_h), array(before_c), piece.padding, piece.reset,
                         array(out), t)  # fmt: skip
        by_time(dout, dy, piece)
        for t, dgate in reversed(list(enumerate(dgates[: piece.size].unbind()))):
            run_serially(make_backward, *known, array(before_c), piece.padding, piece.reset, *buffers, t)
            torch.addmm(through, dgate, weight, out=dh)
        back, cell = dgates[: piece.size], before_c[: piece.size]
        dx[:, piece.start : piece.stop] = back.transpose(0, 1)
        dweight.addmm_(back.flatten(0, 1).mT, before)
        if peephole is not None:
            di, df, _, do = back.chunk(4, -1)
            for total, gradient, seen in zip(dpeephole, (di, df, do), (cell, cell, cells[: piece.size]), strict=True):
                total += (gradient * seen).sum((0, 1))
    return dx, dweight, beginning(dh, reset), beginning(dc, reset), dpeephole


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, h0, _, peephole, ctx.switches, mask, reset = inputs
    ctx.save_for_backward(x, weight, h0, peephole, mask, reset, output[0], output[3])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[3])


def _gradient(ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None, *_: Any) -> tuple[Any, ...]:
    x, weight, h0, peephole, mask, reset, y, begun = ctx.saved_tensors
    given = (x, weight, h0, peephole, ctx.switches, mask, reset, y, begun, dy, dh, dc)
    dx, dweight, dh0, dc0, dpeephole = scan_backward(*given)
    return dx, dweight, dh0, dc0, None if peephole is None else dpeephole, None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    begun = x.new_empty((time + PIECE - 1) // PIECE, batch, hidden)
    return x.new_empty(batch, time, hidden), *empty(h0, c0), begun


@scan_backward.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return *empty(x, weight, h0, h0), h0.new_empty(3, h0.shape[-1])


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("lstm"))
