"""A memory that learns while it reads: its weights W are trained, token by token, to map keys to values.

With l_t(W) = |f(k_t; W) - v_t|^2 / 2 and W_c the weights at the beginning of the present chunk:
    S_t = eta_t S_{t-1} - theta_t grad l_t(W_c)      W_t = (1 - alpha_t) W_{t-1} + S_t      y_t = f(q_t; W_t)

Taking the gradients of a whole chunk at W_c makes the chunk a few matrix products; with chunk = 1 every token sees the
weights that the token before it left. f is linear, x W, or a perceptron with one hidden layer, silu(x W1) W2; either
may be followed by a layer norm with given weights, through which the gradients pass.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seqmem.errors import InputError
from seqmem.ops._decay import decay_matrix
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape

Weights = tuple[Tensor, ...]
Norm = tuple[Tensor, Tensor]  # gain and bias, (heads, value) each
EPS = 1e-6  # of the norm


class MemoryState(NamedTuple):
    """weights, momentum and anchor (the weights at the chunk's beginning): tuples of (batch, heads, in, out), one per
    layer of f. position: (batch,) int64, tokens of the present chunk that were read."""

    weights: Weights
    momentum: Weights
    anchor: Weights
    position: Tensor


class _Read(NamedTuple):
    """What is read: q, k, v (batch, heads, time, ...), rate, eta and alpha (batch, heads, time), and (batch, 1, time)
    bool where a chunk begins, what is no padding, where a document begins."""

    q: Tensor
    k: Tensor
    v: Tensor
    rate: Tensor
    eta: Tensor
    alpha: Tensor
    starts: Tensor
    mask: Tensor | None
    reset: Tensor | None

    def split(self, lengths: list[int]) -> Iterator[_Read]:
        """Parts of these lengths. Their gradients are joined once; those of slices would each be as long as all."""
        parts = [[x] * len(lengths) if x is None else x.split(lengths, 2) for x in self]
        return itertools.starmap(_Read, zip(*parts, strict=True))


class _Mixing(NamedTuple):
    """How the weights at t follow from those before a piece, and from what its tokens write."""

    kept: Tensor  # (batch, heads, time, 1): of W
    carried: Tensor  # (batch, heads, time, 1): of S
    written: Tensor  # (batch, heads, time, time): of token j's step


def memory_update(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Weights,
    state: MemoryState | None = None,
    *,
    momentum: Tensor | None = None,
    forget: Tensor | None = None,
    norm: Norm | None = None,
    chunk: int = 16,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, MemoryState]:
    """The neural memory of Titans (Titans: Learning to Memorize at Test Time, 2024, arXiv 2501.00663); without
    momentum and forgetting TTT-linear's (Learning to (Learn at Test Time), 2024, arXiv 2407.04620).

    q, k: (batch, time, heads, key); v: (batch, time, heads, value); rate: theta (batch, time, heads), >= 0; momentum:
    eta, forget: alpha, (batch, time, heads) in [0, 1], default 0. norm: (gain, bias), (heads, value) each, of a layer
    norm that is part of f; default none. weights: what the memory begins with, ``(W,)`` of
    (heads, key, value), or ``(W1, W2)`` of (heads, key, inner) and (heads, inner, value). state: what an earlier call
    returned, with the same ``chunk``. chunk: tokens whose gradients are taken at the same weights. mask: (batch, time)
    bool, False at padding, which is skipped (its y is unspecified); reset: (batch, time) bool, True begins anew, with
    ``weights``, no momentum and a new chunk. bfloat16 and float16 are computed in float32. Where momentum is exactly 0
    or forget exactly 1 (a gate that is saturated), their gradient is given as 0.
    Returns (y (batch, time, heads, value) in v's dtype, state). Any cut of the sequence gives the same.

    Plain PyTorch on any device: a loop over chunks, not over time. Time is linear in length. For the way back
    the memory is kept once for every root of the number of chunks, and the chunks between are computed again (not under
    torch.compile and torch.func, where all that autograd wants is kept).
    """
    if q.dim() != 4 or q.shape[1] < 1:
        raise InputError(f"memory_update: q has shape {tuple(q.shape)}, expected (batch, time >= 1, heads, key)")
    (batch, time, heads, key), value = q.shape, v.shape[-1]
    expect_shape("memory_update", "k", k, "batch, time, heads, key", batch, time, heads, key)
    expect_shape("memory_update", "v", v, "batch, time, heads, value", batch, time, heads, value)
    for name, x in (("rate", rate), ("momentum", momentum), ("forget", forget)):
        expect_shape("memory_update", name, x, "batch, time, heads", batch, time, heads)
    for part in norm or ():
        expect_shape("memory_update", "norm", part, "heads, value", heads, value)
    sizes = [tuple(w.shape) for w in weights]
    inner = sizes[0][-1] if sizes else 0
    wanted = [(heads, key, value)] if len(sizes) == 1 else [(heads, key, inner), (heads, inner, value)]
    if sizes != wanted:
        raise InputError(
            f"memory_update: weights have shapes {sizes}, expected [({heads}, {key}, {value})] or "
            f"[({heads}, {key}, inner), ({heads}, inner, {value})]"
        )
    if chunk < 1:
        raise InputError(f"memory_update: chunk is {chunk}, expected at least 1")
    expect_flags("memory_update", "mask", mask, batch, time)
    expect_flags("memory_update", "reset", reset, batch, time)

    out, dtype = v.dtype, computed_in(common_dtype("memory_update", q, k, v, rate, momentum, forget, *weights))
    q, k, v, rate = (x.to(dtype).transpose(1, 2) for x in (q, k, v, rate))  # (batch, heads, time, ...)
    norm = None if norm is None else (norm[0].to(dtype)[:, None], norm[1].to(dtype)[:, None])  # (heads, 1, value)
    zero = torch.zeros_like(rate)
    eta, alpha = (zero if x is None else x.to(dtype).transpose(1, 2) for x in (momentum, forget))
    if mask is not None:
        real = mask[:, None]
        rate, eta, alpha = rate.where(real, 0), eta.where(real, 1), alpha.where(real, 0)
    begin = tuple(w.to(dtype).expand(batch, *w.shape) for w in weights)
    if state is None:
        nothing = tuple(torch.zeros_like(w) for w in begin)
        state = MemoryState(begin, nothing, begin, torch.zeros(batch, dtype=torch.long, device=q.device))

    memory: Sequence[Tensor] = [w.to(dtype) for part in state[:3] for w in part]
    cuts, starts, _, position = pieces_of_chunks(state.position, time, chunk, mask, reset)
    read = _Read(q, k, v, rate, eta, alpha, starts[:, None], _rows(mask), _rows(reset))
    lengths = [stop - start for start, stop in pairwise(cuts)]
    each = _together(len(lengths), (*begin, *memory, *(norm or ())), read)
    groups = [lengths[i : i + each] for i in range(0, len(lengths), each)]
    outputs = []
    with torch.autocast(q.device.type, enabled=False):  # rounding errors of the weights would add up
        for some, group in zip(read.split([sum(group) for group in groups]), groups, strict=True):
            given = (group, some, begin, memory, norm)
            if len(groups) > 1:
                y, *memory = checkpoint(_pass, *given, use_reentrant=False, preserve_rng_state=False)
            else:
                y, *memory = _pass(*given)
            outputs.append(y)
    y, n = torch.cat(outputs, 2).transpose(1, 2), len(begin)
    now, speed, anchor = (tuple(memory[i : i + n]) for i in range(0, 3 * n, n))
    return y.to(out), MemoryState(now, speed, anchor, position)


def _rows(flags: Tensor | None) -> Tensor | None:
    """(batch, 1, time) of (batch, time): time where the sequences have it."""
    return None if flags is None else flags[:, None]


def _together(count: int, learned: Sequence[Tensor], read: _Read) -> int:
    """How many of ``count`` pieces are kept whole for the way back. Where a gradient is asked, the memory is kept once
    for every root of ``count`` pieces, and what lies between is computed again."""
    given = (*learned, *(x for x in read if x is not None))
    asked = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    transformed = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
    return math.isqrt(count - 1) + 1 if asked and not transformed else count


def _pass(
    lengths: list[int], read: _Read, begin: Weights, memory: Sequence[Tensor], norm: Norm | None
) -> tuple[Tensor, ...]:
    """Over pieces of these lengths: y (batch, heads, time, value), then the weights, momentum and anchor after them."""
    n = len(begin)
    now, speed, anchor = (tuple(memory[i : i + n]) for i in range(0, 3 * n, n))
    outputs = []
    for part in read.split(lengths):
        if part.reset is not None:
            fresh = part.reset[..., :1, None]
            now = tuple(torch.where(fresh, b, w) for b, w in zip(begin, now, strict=True))
            speed = tuple(s.masked_fill(fresh, 0) for s in speed)
        new = part.starts[..., :1, None]
        anchor = tuple(torch.where(new, w, a) for w, a in zip(now, anchor, strict=True))
        y, now, speed = _piece(*part[:6], now, speed, anchor, part.mask, norm)
        outputs.append(y)
    return torch.cat(outputs, 2), *now, *speed, *anchor


def pieces_of_chunks(
    position: Tensor, time: int, chunk: int, mask: Tensor | None, reset: Tensor | None
) -> tuple[list[int], Tensor, Tensor, Tensor]:
    """Where to cut so that in every piece each row stays within one chunk, 0 and ``time`` included; (batch, time) bool,
    where a row's chunk begins; (batch, time) int64, the place of a position in its chunk; and the position to go on
    from."""
    real = torch.ones(len(position), time, dtype=torch.bool, device=position.device) if mask is None else mask
    read = real.long().cumsum(1)
    before = position[:, None] + read - real.long()  # tokens read, in this chunk and since
    if reset is not None:
        origin = torch.where(reset, before, 0).cummax(1).values  # `before` never falls
        seen = reset.long().cumsum(1) > 0
        before = torch.where(seen, before - origin, before)
    place = before % chunk
    starts = real & (place == 0)
    if reset is not None:
        starts = starts | reset
    cuts = starts.any(0)
    cuts[0] = True
    after = before[:, -1] + real[:, -1].long()
    return [*cuts.nonzero().flatten().tolist(), time], starts, place, after


def _piece(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    eta: Tensor,
    alpha: Tensor,
    now: Weights,
    speed: Weights,
    anchor: Weights,
    real: Tensor | None,
    norm: Norm | None,
) -> tuple[Tensor, Weights, Weights]:
    """(y, weights, momentum) after tokens (batch, heads, time, ...) whose gradients are all taken at ``anchor``; real:
    (batch, 1, time) bool, False at padding, where S is not added to W."""
    keeps = torch.log1p(-alpha.masked_fill(alpha == 1, 0)).masked_fill(alpha == 1, -torch.inf)
    carries = eta.masked_fill(eta == 0, 1).log().masked_fill(eta == 0, -torch.inf)
    keep, carry = decay_matrix(keeps), decay_matrix(carries)
    keep = keep if real is None else keep * real[:, :, None]
    # W_t = kept_t W + sum_i keep_ti S_i  and  S_i = (eta_1 ... eta_i) S + sum_j carry_ij (step of j)
    since = carries.cumsum(-1).exp()[..., None]
    mixing = _Mixing(keeps.cumsum(-1).exp()[..., None], keep @ since, keep @ carry)
    if len(now) == 1:
        error = _error(k @ anchor[0], v, norm)
        steps = [(k, -rate[..., None] * error)]
        y = _read(q, k, steps[0][1], now[0], speed[0], mixing)
    else:
        reached = k @ anchor[0]  # (batch, heads, time, inner)
        hidden = F.silu(reached)
        error = _error(hidden @ anchor[1], v, norm)
        gate = torch.sigmoid(reached)
        back = (error @ anchor[1].mT) * gate * (1 + reached * (1 - gate))  # silu'
        steps = [(k, -rate[..., None] * back), (hidden, -rate[..., None] * error)]
        asked = F.silu(_read(q, k, steps[0][1], now[0], speed[0], mixing))
        y = _read(asked, hidden, steps[1][1], now[1], speed[1], mixing)
    y = y if norm is None else _normalised(y)[0] * norm[0] + norm[1]
    last_w, last_s = mixing.written[..., -1, :, None], carry[..., -1, :, None]
    kept, carried, whole = mixing.kept[..., -1:, :], mixing.carried[..., -1:, :], since[..., -1:, :]
    weights = tuple(
        kept * w + carried * s + (last_w * x).mT @ u for w, s, (x, u) in zip(now, speed, steps, strict=True)
    )
    return y, weights, tuple(whole * s + (last_s * x).mT @ u for s, (x, u) in zip(speed, steps, strict=True))


def _read(q: Tensor, k: Tensor, step: Tensor, weights: Tensor, speed: Tensor, mixing: _Mixing) -> Tensor:
    """q_t W_t for every t, where token j's step is the outer product of k_j and ``step`` j."""
    return mixing.kept * (q @ weights) + mixing.carried * (q @ speed) + (q @ k.mT * mixing.written) @ step


def recall(q: Tensor, weights: Weights, norm: Norm | None = None) -> Tensor:
    """f(q; W), nothing learned. q: (batch, time, heads, key); weights: of a :class:`MemoryState`, (batch, heads, in,
    out) each; norm: as in :func:`memory_update`. Returns (batch, time, heads, value) in the dtype of q."""
    out, dtype = q.dtype, computed_in(common_dtype("recall", q, *weights))
    with torch.autocast(q.device.type, enabled=False):
        y = q.to(dtype).transpose(1, 2) @ weights[0].to(dtype)
        y = (y if len(weights) == 1 else F.silu(y) @ weights[1].to(dtype)).transpose(1, 2)
    return (y if norm is None else _normalised(y)[0] * norm[0] + norm[1]).to(out)


def _normalised(z: Tensor) -> tuple[Tensor, Tensor]:
    """z with mean 0 and variance 1 along its last axis, and 1 / deviation."""
    centred = z - z.mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPS)
    return centred * inverse, inverse


def _error(z: Tensor, v: Tensor, norm: Norm | None) -> Tensor:
    """The gradient of |z - v|^2 / 2 with respect to z, or of |norm(z) - v|^2 / 2."""
    if norm is None:
        return z - v
    normal, inverse = _normalised(z)
    slope = (normal * norm[0] + norm[1] - v) * norm[0]
    return inverse * (slope - slope.mean(-1, keepdim=True) - normal * (slope * normal).mean(-1, keepdim=True))
