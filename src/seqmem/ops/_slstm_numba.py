"""Numba kernels of one sLSTM step, and the loop over time around them.

At a fixed m the step is c' = A c + e g, n' = A n + e, h' = s(o) c' / n', with g = tanh z, A = exp(log f + m - m') and
e = exp(i~ - m'); h' does not depend on the choice of m. Only the final state knows m itself: what is left of its
gradient, dm - c dc - n dn, belongs to the input gate that set it, and to log f at every step since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from seqmem.ops._arrays import array, empty, refuse_vmap
from seqmem.ops._cells import PIECE, beginning, by_time, many_empty, pieces, states_before
from seqmem.ops._launch import jit, run_serially
from seqmem.ops._math import sigmoid, tanh, weight
from seqmem.ops._operator import operator


@njit(inline="always")
def log_sigmoid(x):  # type: ignore[no-untyped-def]
    return min(x, x - x) - np.log1p(np.exp(-abs(x)))


def make_forward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def step(gates, recurrent, exponential, hs, cs, ns, ms, padding, reset, y, t):  # type: ignore[no-untyped-def]
        # gates: (time, batch, heads, 4, head), at t what x contributes; becomes their inputs. recurrent: (heads, batch,
        # 4 * head). hs, cs, ns, ms: (time + 1, batch, heads, head), what the step starts from
        batch, heads, head = hs.shape[1], hs.shape[2], hs.shape[3]
        one = y.dtype.type(1)
        zero, nothing = one - one, y.dtype.type(-np.inf)
        for b in range(batch):
            for k in range(heads):
                added = recurrent[k, b]
                z, i, f, o = gates[t, b, k, 0], gates[t, b, k, 1], gates[t, b, k, 2], gates[t, b, k, 3]
                h, c, n, m = hs[t, b, k], cs[t, b, k], ns[t, b, k], ms[t, b, k]
                h1, c1, n1, m1, yt = hs[t + 1, b, k], cs[t + 1, b, k], ns[t + 1, b, k], ms[t + 1, b, k], y[t, b, k]
                for j in range(head):
                    z[j] += added[j]
                    i[j] += added[head + j]
                    f[j] += added[2 * head + j]
                    o[j] += added[3 * head + j]
                    kept = (f[j] if exponential else log_sigmoid(f[j])) + m[j]
                    top = kept if kept > i[j] else i[j]
                    keep, write = weight(kept, top), weight(i[j], top)
                    c1[j] = keep * c[j] + write * tanh(z[j], one)
                    n1[j] = keep * n[j] + write
                    m1[j] = top
                    h1[j] = sigmoid(o[j], one) * c1[j] / (one if n1[j] == zero else n1[j])
                if padding.shape[0] > 0 and padding[t, b] > 0:
                    for j in range(head):
                        h1[j], c1[j], n1[j], m1[j] = h[j], c[j], n[j], m[j]
                for j in range(head):
                    yt[j] = h1[j]
                if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                    for j in range(head):
                        h1[j], c1[j], n1[j], m1[j] = zero, zero, zero, nothing

    return step


def make_backward(parallel: int) -> Callable[..., None]:
    @jit(parallel)
    def step(gates, exponential, cs, ns, ms, padding, reset, dy, dh, dc, dn, rest, dgates, through, t):  # type: ignore[no-untyped-def]
        # dh: (heads, batch, head), the gradient of h after the step, without y's; dc, dn, rest: (batch, heads, head),
        # those of c and n after the step, which become those before it
        batch, heads, head = cs.shape[1], cs.shape[2], cs.shape[3]
        one = dy.dtype.type(1)
        zero = one - one
        for b in range(batch):
            for k in range(heads):
                z, i, f, o = gates[t, b, k, 0], gates[t, b, k, 1], gates[t, b, k, 2], gates[t, b, k, 3]
                dz, di, df, do = dgates[t, k, b, :head], dgates[t, k, b, head : 2 * head], dgates[t, k, b, 2 * head : 3 * head], dgates[t, k, b, 3 * head :]  # fmt: skip  # noqa: E501
                c, n, m = cs[t, b, k], ns[t, b, k], ms[t, b, k]
                dht, dct, dnt, left, dyt, past = dh[k, b], dc[b, k], dn[b, k], rest[b, k], dy[t, b, k], through[k, b]
                if reset.shape[0] > t + 1 and reset[t + 1, b] > 0:
                    for j in range(head):
                        dht[j], dct[j], dnt[j], left[j] = zero, zero, zero, zero
                if padding.shape[0] > 0 and padding[t, b] > 0:
                    for j in range(head):
                        past[j] = dht[j] + dyt[j]
                        dz[j], di[j], df[j], do[j] = zero, zero, zero, zero
                    continue
                for j in range(head):
                    up = dht[j] + dyt[j]
                    kept = (f[j] if exponential else log_sigmoid(f[j])) + m[j]
                    top = kept if kept > i[j] else i[j]
                    keep, write = weight(kept, top), weight(i[j], top)
                    bent, open_ = tanh(z[j], one), sigmoid(o[j], one)
                    c1, n1 = keep * c[j] + write * bent, keep * n[j] + write
                    share = one / (one if n1 == zero else n1)
                    do[j] = up * c1 * share * open_ * (one - open_)
                    dc1 = dct[j] + up * open_ * share
                    dn1 = dnt[j] - up * open_ * c1 * share * share
                    sets = i[j] > kept
                    dz[j] = dc1 * write * (one - bent * bent)
                    di[j] = write * (dc1 * bent + dn1) + (left[j] if sets else zero)
                    flow = keep * (dc1 * c[j] + dn1 * n[j]) + (zero if sets else left[j])
                    df[j] = flow if exponential else flow * sigmoid(-f[j], one)
                    left[j] = zero if sets else left[j]
                    dct[j], dnt[j], past[j] = keep * dc1, keep * dn1, zero

    return step


@operator("seqmem::slstm")
def scan(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    c0: Tensor,
    n0: Tensor,
    m0: Tensor,
    exponential: bool,
    mask: Tensor | None,
    reset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(h, the final h, c, n and m, and (3, pieces, batch, heads, head) the c, n and m that every piece starts from)."""
    batch, time, heads, _, head = x.shape
    parts, longest = pieces(time, mask, reset), min(time, PIECE)
    y, begun = many_empty(x, (batch, time, heads, head), (3, len(parts), batch, heads, head))
    gates, recurrent = many_empty(x, (longest, batch, heads, 4, head), (heads, batch, 4 * head))
    out, *before = many_empty(x, (longest, batch, heads, head), *[(longest + 1, batch, heads, head)] * 4)
    for states, start, nothing in zip(before, (h0, c0, n0, m0), (0.0, 0.0, 0.0, -torch.inf), strict=True):
        states[0] = beginning(start, reset, nothing)
    fixed = (array(gates), array(recurrent), exponential, *[array(states) for states in before])
    turned = weight.detach().mT
    for piece in parts:
        for states, kept in zip(before[1:], begun, strict=True):
            kept[piece.number] = states[0]
        by_time(gates, x, piece)
        for h, t in zip(before[0].unbind(), range(piece.size), strict=False):
            torch.bmm(h.transpose(0, 1), turned, out=recurrent)
            run_serially(make_forward, *fixed, piece.padding, piece.reset, array(out), t)
        y[:, piece.start : piece.stop] = out[: piece.size].transpose(0, 1)
        for states in before:
            states[0] = states[piece.size]
    return y, *(states[0].clone() for states in before), begun  # type: ignore[return-value]


@operator("seqmem::slstm_backward")
def scan_backward(
    x: Tensor,
    weight: Tensor,
    h0: Tensor,
    exponential: bool,
    mask: Tensor | None,
    reset: Tensor | None,
    y: Tensor,
    last: list[Tensor],
    begun: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    dn: Tensor | None,
    dm: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0, c0, n0 and m0. last: the final c and n."""
    batch, time, heads, head = y.shape
    longest = min(time, PIECE)
    dh, dc, dn, dm = (torch.zeros_like(h0) if d is None else d.clone().contiguous() for d in (dh, dc, dn, dm))
    rest = (dm - last[0] * dc - last[1] * dn).contiguous()
    dh = dh.transpose(0, 1).contiguous()  # (heads, batch, head)
    (dx,) = many_empty(x, tuple(x.shape))
    dweight = torch.zeros(weight.shape, dtype=weight.dtype)
    gates, dgates, through = many_empty(
        x, (longest, batch, heads, 4, head), (longest, heads, batch, 4 * head), (heads, batch, head)
    )
    out, dout, *before = many_empty(y, *[(longest, batch, heads, head)] * 2, *[(longest + 1, batch, heads, head)] * 4)
    turned, memory = weight.detach().mT, [array(states) for states in before]
    buffers = [array(d) for d in (dout, dh, dc, dn, rest, dgates, through)]
    for piece in reversed(pieces(time, mask, reset)):
        states = states_before(piece, h0, y, reset, before[0]).permute(2, 0, 1, 3).flatten(1, 2)  # (heads, -1, head)
        products = (states @ turned).unflatten(1, (piece.size, batch)).transpose(0, 1).contiguous()
        by_time(gates, x, piece)
        for part, kept in zip(before[1:], begun, strict=True):
            part[0] = kept[piece.number]
        for t, product in enumerate(array(products)):
            run_serially(make_forward, array(gates), product, exponential, *memory, piece.padding, piece.reset,
                         array(out), t)  # fmt: skip
        by_time(dout, dy, piece)
        for t, dgate in reversed(list(enumerate(dgates[: piece.size].unbind()))):
            run_serially(make_backward, array(gates), exponential, *memory[1:], piece.padding, piece.reset, *buffers,
                         t)  # fmt: skip
            torch.baddbmm(through, dgate, weight, out=dh)
        back = dgates[: piece.size]
        dx[:, piece.start : piece.stop] = back.unflatten(-1, (4, head)).permute(2, 0, 1, 3, 4)
        dweight.baddbmm_(back.permute(1, 3, 0, 2).flatten(2), states)
    dh0, dm0 = dh.transpose(0, 1), rest + before[1][0] * dc + before[2][0] * dn
    dh0, dc, dn, dm0 = (beginning(d, reset) for d in (dh0, dc, dn, dm0))
    return dx, dweight, dh0.contiguous(), dc, dn, dm0


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, h0, _, _, _, ctx.exponential, mask, reset = inputs
    y, _, c, n, _, begun = output
    ctx.save_for_backward(x, weight, h0, mask, reset, y, c, n, begun)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(begun)


def _gradient(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    x, weight, h0, mask, reset, y, c, n, begun = ctx.saved_tensors
    found = scan_backward(x, weight, h0, ctx.exponential, mask, reset, y, [c, n], begun, *gradients[:5])
    return *found, None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, n0: Tensor, m0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch, time, heads, head = *x.shape[:3], x.shape[4]
    begun = x.new_empty(3, (time + PIECE - 1) // PIECE, batch, heads, head)
    return x.new_empty(batch, time, heads, head), *empty(h0, c0, n0, m0), begun


@scan_backward.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return empty(x, weight, h0, h0, h0, h0)


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("slstm"))
