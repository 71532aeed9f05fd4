"""Locally typical sampling: keep the tokens whose information is nearest to what is to be expected.

Locally Typical Sampling (2022), arXiv 2202.00666.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.decoding.repetition import entropy
from seqmem.errors import InputError


class LocallyTypical:
    """A logits processor. With p = softmax(scores) and its entropy H = -sum p log p, tokens are ordered by
    |-log p(y) - H|; the shortest beginning of that order with a total probability of at least ``mass`` is kept, with
    whatever ties with its last token.

    mass: in (0, 1]; 1 keeps everything (ancestral sampling). min_tokens: how many are kept at least. filter_value: the
    score of what is not kept. The likeliest token may be dropped: it is when the distribution is flat around it.

    Example: ``model.generate(ids, do_sample=True, logits_processor=LogitsProcessorList([LocallyTypical(0.9)]))``
    """

    def __init__(self, mass: float = 0.9, min_tokens: int = 1, filter_value: float = -torch.inf) -> None:
        if not 0 < mass <= 1:
            raise InputError(f"LocallyTypical: mass is {mass!r}, expected a number above 0 and at most 1")
        if min_tokens < 1:
            raise InputError(f"LocallyTypical: min_tokens is {min_tokens!r}, expected at least 1")
        self.mass, self.min_tokens, self.filter_value = mass, min_tokens, filter_value

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """scores: (batch, vocabulary), logits or log-probabilities; returns them with ``filter_value`` elsewhere.
        ``input_ids`` (batch, time) is not looked at."""
        if self.mass == 1:
            return scores
        log_p = scores.float().log_softmax(-1)
        distance = (-log_p - entropy(log_p)[..., None]).abs()
        nearest, order = distance.sort(dim=-1, stable=True)
        before = log_p.exp().gather(-1, order).cumsum(-1).roll(1, -1)
        before[..., 0] = 0  # probability of all that is nearer
        count = (before < self.mass).sum(-1, keepdim=True).clamp(min=min(self.min_tokens, scores.shape[-1]))
        farthest = nearest.gather(-1, count - 1)
        return scores.masked_fill(distance > farthest, self.filter_value)
