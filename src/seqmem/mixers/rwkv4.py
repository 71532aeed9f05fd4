"""RWKV-4:  wkv_t = (sum_{j<t} e^{k_j - (t-1-j) w} v_j + e^{u + k_t} v_t) / (the same without v),  y = W (s(r) wkv)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._packing import pack, to_front, to_place
from seqmem.mixers._rwkv import Depth, full_ramp, lerp, ramp, token_shift, zigzag
from seqmem.mixers._shared import at_padding, read_diagonal, resume, scan_backend
from seqmem.mixers._softmax import explicit_allowed, softmax_over
from seqmem.mixers.base import Mixer
from seqmem.ops import SoftmaxState, wkv
from seqmem.ops._inputs import common_dtype, computed_in
from seqmem.ops.running_softmax import weight

if TYPE_CHECKING:
    from seqmem.ops._dispatch import Backend


class RWKV4State(NamedTuple):
    """previous: (batch, 1, width), the newest input; average: maximum, normaliser and weighted sum of the past,
    (batch, width) each; nothing read: 0, and -inf, 0, 0.
    """

    previous: Tensor
    average: SoftmaxState


class RWKV4(Mixer):
    """The time mixing of RWKV-4: a running average per channel whose weights decay with distance (RWKV: Reinventing
    RNNs for the Transformer Era, 2023, arXiv 2305.13048).

    r, k, v = W (mu x_t + (1 - mu) x_{t-1}) with a mu (width,) each; w = exp(``time_decay``), u = ``bonus``. Its
    companion in a network is :class:`seqmem.mixers.rwkv_channel_mix.RWKVChannelMix`. ``layer`` and ``depth`` say where
    in the network it stands: the beginnings of mu, w and u depend on it, as in the paper. W_r, W_k and W_o begin at
    zero (the layer then gives zero), W_v orthogonal. ``views``: rows of x come in groups of so many, each with a mu of
    its own (see :mod:`seqmem.mixers.temporal_perspectives`).

    form: "parallel" is the op ``wkv``, "recurrent" its loop in plain PyTorch; "auto" is "parallel".
    """

    def __init__(self, width: int, *, layer: int = 0, depth: int = 1, views: int = 1) -> None:
        super().__init__(width)
        at = Depth(layer, depth, "RWKV4")
        if views < 1:
            raise InputError(f"RWKV4: views is {views}, expected at least 1")
        self.views = views
        mu_k = ramp(width) ** at.falling
        mu = torch.stack([ramp(width) ** (0.5 * at.falling), mu_k, mu_k + 0.3 * at.rising])  # of r, k and v
        self.mu = nn.Parameter(mu.repeat(views, 1, 1))
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.time_decay = nn.Parameter(-5 + 8 * full_ramp(width) ** (0.7 + 1.3 * at.rising))
        self.bonus = nn.Parameter(math.log(0.3) + 0.5 * zigzag(width))
        for linear in (self.receptance, self.key, self.out):
            nn.init.zeros_(linear.weight)
        nn.init.orthogonal_(self.value.weight)

    def initial_state(self, batch_size: int) -> RWKV4State:
        """Nothing was read."""
        zero = self.bonus.new_zeros(batch_size, self.width)
        return RWKV4State(zero[:, None], SoftmaxState(zero - torch.inf, zero, zero))

    def forward(
        self,
        x: Tensor,
        state: RWKV4State | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RWKV4State]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = at_padding(x, mask, 0)
        r, k, v, previous = self._inputs(x, state.previous, mask, reset)
        g, backend = -self.time_decay.exp(), scan_backend(form)
        if mask is None:
            average, last = wkv(k, v, g, self.bonus, state.average, reset=reset, backend=backend)
        else:
            average, last = wkv_without_padding(k, v, g, self.bonus, state.average, mask, reset, backend)
        return self.out(torch.sigmoid(r) * average), RWKV4State(previous, last)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, width, time, time): the weight of v_j in wkv_t, from an empty memory; rows sum to 1."""
        self.check_input(x, mask, reset, "auto")
        _, k, _, _ = self._inputs(at_padding(x, mask, 0), None, mask, reset)
        allowed, position = explicit_allowed(x, mask, reset, None)
        between = (position[:, :, None] - position[:, None] - 1)[:, None]  # (batch, 1, t, j)
        past = k.mT[:, :, None] - between * self.time_decay.exp()[:, None, None]
        present = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        score = torch.where(present, (k + self.bonus).mT[:, :, None], past)  # (batch, width, t, j)
        return softmax_over(score, allowed)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        r, _, v, _ = self._inputs(at_padding(x, mask, 0), None, mask, reset)
        return self.out(torch.sigmoid(r) * read_diagonal(attention, v))

    def _inputs(
        self, x: Tensor, previous: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, k and v (batch, time, width), and the newest input."""
        dtype = self.out.weight.dtype
        shifted, last = token_shift(
            x, x.new_zeros(len(x), 1, self.width) if previous is None else previous, mask, reset
        )
        xr, xk, xv = mixed(x, shifted.to(x.dtype), self.mu)
        return self.receptance(xr).to(dtype), self.key(xk).to(dtype), self.value(xv).to(dtype), last


def wkv_without_padding(
    k: Tensor,
    v: Tensor,
    g: Tensor,
    bonus: Tensor,
    state: SoftmaxState,
    mask: Tensor,
    reset: Tensor | None,
    backend: Backend,
) -> tuple[Tensor, SoftmaxState]:
    """:func:`seqmem.ops.wkv` over the real positions alone: the op itself would decay at padding too.

    Padding goes behind the real positions. There the op decays on, so that the final state is summed up anew.
    """
    packing = pack(mask, reset)
    assert packing.real is not None
    out, dtype = v.dtype, computed_in(common_dtype("wkv", k, v, g, bonus, *state))  # as without padding
    k, v, g = k.to(dtype), v.to(dtype), g.to(dtype)
    state = SoftmaxState(*(part.to(dtype) for part in state))
    real, count = packing.real[..., None], mask.sum(1)[:, None, None]  # (batch, time, 1), (batch, 1, 1)
    k, v = to_front(packing, k).masked_fill(~real, -torch.inf), to_front(packing, v)
    fresh, old, lives = None, torch.ones_like(count[..., 0], dtype=torch.bool), real
    if packing.document is not None and packing.last is not None:
        before = torch.cat([torch.zeros_like(packing.document[:, :1]), packing.document[:, :-1]], 1)
        fresh = (packing.document != before) & packing.real
        old, lives = (packing.last == 0)[:, None], real & (packing.document == packing.last[:, None])[..., None]
    o, _ = wkv(k, v, g, bonus, state, reset=fresh, backend=backend)

    age = count - 1 - torch.arange(k.shape[1], device=k.device)[:, None]  # (batch, time, 1): steps since it was written
    m0 = (state[0] + count[:, 0] * g).masked_fill(~old, -torch.inf)
    left = (k + age * g).masked_fill(~lives, -torch.inf)
    m = torch.maximum(left.amax(1), m0)
    past, written = weight(m0, m), weight(left, m[:, None])
    last = SoftmaxState(m, past * state[1] + written.sum(1), past * state[2] + (written * v).sum(1))
    return to_place(packing, o.to(out)), last


def mixed(x: Tensor, previous: Tensor, mu: Tensor) -> tuple[Tensor, ...]:
    """mu x + (1 - mu) previous for every mu of a view, (views, inputs, width): ``inputs`` tensors of x's shape.

    x, previous: (batch, time, width); every ``views`` rows of the batch go through the views in turn.
    """
    views = len(mu)
    x, previous = (part.unflatten(0, (-1, views))[:, :, None] for part in (x, previous))  # (batch, views, 1, time, ...)
    return lerp(x, previous, 1 - mu[:, :, None]).flatten(0, 1).unbind(1)
