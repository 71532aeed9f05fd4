"""Attention taken apart: a score of a query with every key, and a distribution made of the scores.

An Attentive Survey of Attention Models (2019), arXiv 1904.02874, sorts what had been proposed; any score goes with any
distribution. q is (batch, queries, width), K is (batch, keys, width), scores are (batch, queries, keys).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError, did_you_mean


class Cosine(nn.Module):
    """q . k / (|q| |k|)."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return F.normalize(q, dim=-1) @ F.normalize(keys, dim=-1).mT


class Dot(nn.Module):
    """q . k."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return q @ keys.mT


class ScaledDot(Dot):
    """q . k / sqrt(width)."""

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return super().forward(q, keys) * q.shape[-1] ** -0.5


class General(nn.Module):
    """q . W k."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turn = nn.Linear(width, width, bias=False)

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return q @ self.turn(keys).mT


class BiasedGeneral(nn.Module):
    """k . (W q + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turn = nn.Linear(width, width)

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return self.turn(q) @ keys.mT


class ActivatedGeneral(nn.Module):
    """tanh(q . W k + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.general = General(width)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return torch.tanh(self.general(q, keys) + self.bias)


class Kernel(nn.Module):
    """phi(q) . phi(k), phi(x) = elu(x) + 1: nothing is ever opposed."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return (F.elu(q) + 1) @ (F.elu(keys) + 1).mT


class Additive(nn.Module):
    """v . tanh(W q + U k + b), which is v . tanh(W' [q; k] + b), the score called concat."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_query = nn.Linear(width, width)
        self.of_key = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 1, bias=False)

    def hidden(self, q: Tensor, keys: Tensor) -> Tensor:
        """(batch, queries, keys, width)."""
        return torch.tanh(self.of_query(q)[:, :, None] + self.of_key(keys)[:, None])

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return self.out(self.hidden(q, keys))[..., 0]


class Deep(Additive):
    """The same with one more layer: v . tanh(W_2 tanh(W q + U k + b) + b_2)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.between = nn.Linear(width, width)

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return self.out(torch.tanh(self.between(self.hidden(q, keys))))[..., 0]


class Location(nn.Module):
    """The entries of W q: a query names a place without looking at what stands there. positions: rows of W; InputError
    for more keys than that."""

    def __init__(self, width: int, positions: int = 64) -> None:
        super().__init__()
        self.place = nn.Linear(width, positions)

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        count, room = keys.shape[1], self.place.out_features
        if count > room:
            raise InputError(f"Location: {count} keys, but places for {room}; give positions={count}")
        return self.place(q)[..., :count]


class Feature(nn.Module):
    """v . tanh(W k + b): how important a key is by itself, whatever the query."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_key = nn.Linear(width, width)
        self.out = nn.Linear(width, 1, bias=False)

    def forward(self, q: Tensor, keys: Tensor) -> Tensor:
        return self.out(torch.tanh(self.of_key(keys))).mT.expand(-1, q.shape[1], -1)


#: name -> class of every score, constructed as ``Class(width)``
SCORES: dict[str, Callable[..., nn.Module]] = {
    "cosine": Cosine,
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "biased_general": BiasedGeneral,
    "activated_general": ActivatedGeneral,
    "kernel": Kernel,
    "additive": Additive,
    "deep": Deep,
    "location": Location,
    "feature": Feature,
}


def softmax(scores: Tensor) -> Tensor:
    """exp(s_i) / sum_j exp(s_j): everything gets something."""
    return scores.softmax(-1)


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex that is nearest to the scores, max(s_i - tau, 0): exact zeros, and a sum of 1.

    From Softmax to Sparsemax (2016), arXiv 1602.02068. The largest k scores are kept, k the last at which
    1 + k s_(k) > s_(1) + ... + s_(k), and tau = (their sum - 1) / k. Scores count from the largest down, and those more
    than 1 below it, which have no weight, as if they were 1 below: sums stay small, and what is lost in rounding too.
    """
    scores = (scores - scores.amax(-1, keepdim=True)).clamp_min(-1)
    ordered = scores.sort(-1, descending=True).values
    total = ordered.cumsum(-1)
    count = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    kept = (1 + count * ordered > total).sum(-1, keepdim=True)  # at least 1
    tau = (total.gather(-1, kept - 1) - 1) / kept
    return (scores - tau).clamp_min(0)


def logistic(scores: Tensor) -> Tensor:
    """1 / (1 + exp(-s_i)): each key by itself, so that the weights need not sum to 1."""
    return scores.sigmoid()


#: name -> scores to weights. "hard" draws one key instead, see :class:`Alignment`
DISTRIBUTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": softmax,
    "sparsemax": sparsemax,
    "logistic": logistic,
    "hard": softmax,
}


class Aligned(NamedTuple):
    """weights: (batch, queries, keys). log_prob: (batch, queries), of the keys that were drawn; None unless hard."""

    weights: Tensor
    log_prob: Tensor | None


class Alignment(nn.Module):
    """``weights, _ = Alignment(width, "additive", "sparsemax")(q, keys)``; then ``weights @ values`` is what is read.

    score: a name of :data:`SCORES`; options of its class go into ``options``. distribution: a name of
    :data:`DISTRIBUTIONS`. "hard" looks at one key: in training it is drawn from the softmax by ``generator``, and
    ``log_prob`` is what REINFORCE needs (its gradient times the reward); in evaluation it is the likeliest.

    window: attention is local: each query predicts a centre p = keys * sigmoid(v . tanh(W q)), weights are multiplied
    by exp(-(i - p)^2 / (2 (window / 2)^2)) and not brought to a sum of 1 again (Effective Approaches to
    Attention-based Neural Machine Translation, 2015, arXiv 1508.04025, local-p). None: global.

    Raises InputError for unknown names, a window that is not above 0, and a window with "hard".
    """

    def __init__(
        self,
        width: int,
        score: str = "scaled_dot",
        distribution: str = "softmax",
        *,
        window: float | None = None,
        **options: int,
    ) -> None:
        super().__init__()
        if score not in SCORES:
            raise InputError(f"unknown score '{score}'.{did_you_mean(score, SCORES)} Scores: {', '.join(SCORES)}")
        if distribution not in DISTRIBUTIONS:
            near = did_you_mean(distribution, DISTRIBUTIONS)
            raise InputError(f"unknown distribution '{distribution}'.{near} Known: {', '.join(DISTRIBUTIONS)}")
        if window is not None and (not window > 0 or distribution == "hard"):
            raise InputError(f"window is {window} with '{distribution}', expected above 0, and not with 'hard'")
        self.score = SCORES[score](width, **options)
        self.distribution = distribution
        self.window = window
        self.centre = None if window is None else nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(
        self, q: Tensor, keys: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Aligned:
        """q: (batch, queries, width). keys: (batch, keys, width). mask: (batch, keys) bool, False at padding, which
        gets a weight of 0; every row needs one key."""
        if q.ndim != 3 or keys.ndim != 3 or q.shape[::2] != keys.shape[::2]:
            raise InputError(
                f"Alignment: q has shape {tuple(q.shape)} and keys {tuple(keys.shape)}, expected (batch, queries, "
                "width) and (batch, keys, width)"
            )
        scores = self.score(q, keys)  # (batch, queries, keys)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min / 4)
        weights = DISTRIBUTIONS[self.distribution](scores)
        if self.distribution == "hard":
            return _one(weights, generator if self.training else None, self.training)
        if self.centre is not None and self.window is not None:
            centre = keys.shape[1] * torch.sigmoid(self.centre(q))  # (batch, queries, 1)
            place = torch.arange(keys.shape[1], device=q.device, dtype=q.dtype)
            weights = weights * torch.exp(-2 * ((place - centre) / self.window).square())
        return Aligned(weights if mask is None else weights.masked_fill(~mask[:, None], 0), None)


def _one(weights: Tensor, generator: torch.Generator | None, drawn: bool) -> Aligned:
    """A single key per query: drawn, or the likeliest."""
    flat = weights.flatten(0, 1)
    which = torch.multinomial(flat, 1, generator=generator) if drawn else flat.argmax(-1, keepdim=True)
    chosen = torch.zeros_like(flat).scatter(1, which, 1.0).view_as(weights)
    return Aligned(chosen, flat.gather(1, which).log().view(weights.shape[:2]))
