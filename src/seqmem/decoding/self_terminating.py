"""Heads that end every sequence, whatever the network says.

With u the logit of the end, sigma the logistic function and t = 1, 2, ... counted from the beginning of what is
generated:
    non-monotonic   1 - p_t(end) = (1 - epsilon)^t sigma(-u_t)            (rises and falls, above a bound that rises)
    monotone        1 - p_t(end) = prod_{s<=t} (1 - epsilon) sigma(-u_s)  (never falls)
The other tokens share 1 - p_t(end) by a softmax over their logits.

A Non-monotonic Self-terminating Language Model (2022), arXiv 2210.00660; the monotone head: Consistency of a Recurrent
Language Model With Respect to Incomplete Decoding (2020), arXiv 2002.02492.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError


def _check(epsilon: float, end: int, vocabulary: int) -> None:
    if not 0 < epsilon < 1:
        raise InputError(f"epsilon is {epsilon!r}, expected a number between 0 and 1, e.g. 1e-3")
    if not 0 <= end < vocabulary:
        raise InputError(
            f"the end token is {end}, expected one of the vocabulary's {vocabulary} (0 to {vocabulary - 1})"
        )


def _share(logits: Tensor, end: int, log_goes_on: Tensor) -> Tensor:
    """Log-probabilities (..., vocabulary), given log(1 - p(end)) (...)."""
    others = logits.clone()
    others[..., end] = -torch.inf
    log_p = others.log_softmax(-1) + log_goes_on[..., None]
    # log(1 - exp(x)), exact on both sides: x <= 0
    small = log_goes_on > -math.log(2)
    end_p = torch.where(small, torch.log(-torch.expm1(log_goes_on)), torch.log1p(-log_goes_on.exp()))
    return torch.cat([log_p[..., :end], end_p[..., None], log_p[..., end + 1 :]], -1)


def non_monotonic_log_probs(logits: Tensor, end: int, step: Tensor | int, epsilon: float = 1e-3) -> Tensor:
    """Log-probabilities of the non-monotonic head, for training (their negative at the target is the loss) and reading.

    logits: (..., vocabulary); step: t of every position, counted from 1, broadcast against (...).
    """
    _check(epsilon, end, logits.shape[-1])
    step = torch.as_tensor(step, dtype=logits.dtype, device=logits.device)
    return _share(logits, end, step * math.log1p(-epsilon) + F.logsigmoid(-logits[..., end]))


def monotone_log_probs(logits: Tensor, end: int, epsilon: float = 1e-3, before: Tensor | None = None) -> Tensor:
    """Log-probabilities of the monotone head for consecutive positions. logits: (batch, time, vocabulary); before:
    (batch,), log(1 - p(end)) at the position before, default 0."""
    _check(epsilon, end, logits.shape[-1])
    goes_on = (math.log1p(-epsilon) + F.logsigmoid(-logits[..., end])).cumsum(-1)  # (batch, time)
    return _share(logits, end, goes_on if before is None else goes_on + before[:, None])


class NonMonotonicTermination:
    """A logits processor that gives any model the non-monotonic head while it generates.

    end: the end token's id. epsilon: p(end) is above 1/2 for every t > log(1/2) / log(1 - epsilon), so greedy decoding
    ends there at the latest. prompt_length: positions of the prompt, which are not counted.
    """

    def __init__(self, end: int, epsilon: float = 1e-3, prompt_length: int = 0) -> None:
        self.end, self.epsilon, self.prompt_length = end, epsilon, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: (batch, vocabulary) logits -> log-probabilities; t is read off ``input_ids`` (batch, time)."""
        return non_monotonic_log_probs(scores, self.end, input_ids.shape[1] - self.prompt_length + 1, self.epsilon)


class MonotoneTermination:
    """The monotone head as a logits processor. It remembers the positions before: make a new one for every call of
    ``generate`` (greedy or sampling; rows must not be reordered)."""

    def __init__(self, end: int, epsilon: float = 1e-3) -> None:
        self.end, self.epsilon = end, epsilon
        self.log_goes_on: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: (batch, vocabulary) logits -> log-probabilities."""
        log_p = monotone_log_probs(scores[:, None], self.end, self.epsilon, self.log_goes_on)[:, 0]
        now = math.log1p(-self.epsilon) + F.logsigmoid(-scores[:, self.end])
        self.log_goes_on = now if self.log_goes_on is None else self.log_goes_on + now
        return log_p
