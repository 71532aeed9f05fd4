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
from seqmem.ops._cells import flags_by_time, padding_by_time
from seqmem.ops._launch import jit, run_serially
from seqmem.ops._math import sigmoid, tanh, weight


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


@torch.library.custom_op("seqmem::slstm", mutates_args=())
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(h, the final h, c, n and m, the gates' inputs, and h, c, n and m before every step)."""
    batch, time, heads, _, head = x.shape
    gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    y, recurrent = x.new_empty(time, batch, heads, head), x.new_empty(heads, batch, 4 * head)
    before = []
    for start, nothing in ((h0, 0.0), (c0, 0.0), (n0, 0.0), (m0, -torch.inf)):
        states = x.new_empty(time + 1, batch, heads, head)
        states[0] = start if reset is None else start.masked_fill(reset[:, :1, None], nothing)
        before.append(states)
    fixed = (array(gates), recurrent.numpy(), exponential, *[array(states) for states in before])
    flags, turned = (padding_by_time(mask), flags_by_time(reset), array(y)), weight.detach().mT
    for h, t in zip(before[0].unbind(), range(time), strict=False):
        torch.bmm(h.transpose(0, 1), turned, out=recurrent)
        run_serially(make_forward, *fixed, *flags, t)
    h, c, n, m = before
    return y.transpose(0, 1), h[-1].clone(), c[-1].clone(), n[-1].clone(), m[-1].clone(), gates, h, c, n, m


@torch.library.custom_op("seqmem::slstm_backward", mutates_args=())
def scan_backward(
    weight: Tensor,
    exponential: bool,
    mask: Tensor | None,
    reset: Tensor | None,
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    n: Tensor,
    m: Tensor,
    dy: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    dn: Tensor | None,
    dm: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, h0, c0, n0 and m0."""
    time, batch, heads, head = h.shape[0] - 1, *h.shape[1:]
    dy = h.new_zeros(time, batch, heads, head) if dy is None else dy.transpose(0, 1).contiguous()
    dh, dc, dn, dm = (torch.zeros_like(h[0]) if d is None else d.clone().contiguous() for d in (dh, dc, dn, dm))
    rest = (dm - c[-1] * dc - n[-1] * dn).contiguous()
    dh = dh.transpose(0, 1).contiguous()  # (heads, batch, head)
    dgates, through = h.new_empty(time, heads, batch, 4 * head), torch.empty_like(dh)
    known = (array(gates), exponential, array(c), array(n), array(m), padding_by_time(mask), flags_by_time(reset))
    buffers = [array(d) for d in (dy, dh, dc, dn, rest, dgates, through)]
    each = dgates.unbind()
    for t in range(time - 1, -1, -1):
        run_serially(make_backward, *known, *buffers, t)
        torch.baddbmm(through, each[t], weight, out=dh)
    dh0, dm0 = dh.transpose(0, 1), rest + c[0] * dc + n[0] * dn
    if reset is not None:
        dh0, dc, dn, dm0 = (d.masked_fill(reset[:, :1, None], 0) for d in (dh0, dc, dn, dm0))
    dweight = torch.einsum("thbo,tbhi->hoi", dgates, h[:-1])
    dx = dgates.unflatten(-1, (4, head)).permute(2, 0, 1, 3, 4).contiguous()
    return dx, dweight, dh0.contiguous(), dc, dn, dm0


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.exponential = inputs[6]
    ctx.save_for_backward(inputs[1], inputs[7], inputs[8], *output[5:])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[5:])


def _gradient(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    weight, mask, reset, *saved = ctx.saved_tensors
    return *scan_backward(weight, ctx.exponential, mask, reset, *saved, *gradients[:5]), None, None, None


@scan.register_fake
def _(x: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, n0: Tensor, m0: Tensor, *_: Any) -> tuple[Tensor, ...]:
    batch, time, heads, head = *x.shape[:3], x.shape[4]
    y = x.new_empty(time, batch, heads, head).transpose(0, 1)
    over = x.new_empty(4, time + 1, batch, heads, head).unbind()
    return y, *empty(h0, c0, n0, m0), x.new_empty(time, batch, heads, 4, head), *(part.clone() for part in over)


@scan_backward.register_fake
def _(weight: Tensor, exponential: Any, mask: Any, reset: Any, gates: Tensor, h: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return gates.transpose(0, 1).contiguous(), *empty(weight, h[0], h[0], h[0], h[0])


scan.register_autograd(_gradient, setup_context=_remember)
scan.register_vmap(refuse_vmap("slstm"))
