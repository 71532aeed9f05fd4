"""Measures of repetition, loops, termination and information, on token sequences.

A sequence is a list of hashable tokens, or a one-dimensional tensor. rep-n and diversity: A Contrastive Framework for
Neural Text Generation (2022), arXiv 2202.06417; rep/l and seq-rep: Neural Text Generation With Unlikelihood Training
(2019), arXiv 1908.04319; distinct-n: A Diversity-Promoting Objective Function for Neural Conversation Models (2015),
arXiv 1510.03055.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError

Tokens = Sequence[Hashable] | Tensor


def _tokens(sequence: Tokens) -> list[Hashable]:
    if isinstance(sequence, Tensor):
        if sequence.ndim != 1:
            raise InputError(f"a sequence has shape {tuple(sequence.shape)}, expected (time,); pass one row at a time")
        return list(sequence.tolist())
    return list(sequence)


def _ngrams(sequence: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    if n < 1:
        raise InputError(f"n is {n!r}, expected at least 1")
    tokens = _tokens(sequence)
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def repeated_ngrams(sequence: Tokens, n: int = 4) -> float:
    """rep-n, also called seq-rep-n: the share of n-grams that occurred before in the sequence, 1 - unique / all. 0 for
    a sequence shorter than n."""
    grams = _ngrams(sequence, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def repeated_within(sequence: Tokens, window: int = 32) -> float:
    """rep/l: the share of tokens that occur among the ``window`` tokens before them."""
    tokens = _tokens(sequence)
    last: dict[Hashable, int] = {}
    repeats = 0
    for t, token in enumerate(tokens):
        repeats += token in last and t - last[token] <= window
        last[token] = t
    return repeats / len(tokens) if tokens else 0.0


def distinct(sequences: Iterable[Tokens], n: int = 2) -> float:
    """distinct-n: different n-grams over all n-grams, of all sequences together."""
    grams = [gram for sequence in sequences for gram in _ngrams(sequence, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def diversity(sequence: Tokens) -> float:
    """The product of 1 - rep-n for n = 2, 3, 4."""
    return float(np.prod([1 - repeated_ngrams(sequence, n) for n in (2, 3, 4)]))


class Loop(NamedTuple):
    """The end of a sequence says the same ``period`` tokens again and again, ``repeats`` times, from ``start`` on."""

    start: int
    period: int
    repeats: float


def find_loop(sequence: Tokens, repeats: float = 3.0, longest: int | None = None) -> Loop | None:
    """The loop in which a sequence ends: the shortest period (at most ``longest`` tokens) whose periodic suffix holds
    it at least ``repeats`` times; None where there is none.

    Cost: time x longest. ``longest`` defaults to length / repeats, beyond which no period can occur often enough.
    """
    if repeats < 2:
        raise InputError(f"repeats is {repeats!r}, expected at least 2: once more is the least that repeats")
    codes: dict[Hashable, int] = {}
    x = np.array([codes.setdefault(token, len(codes)) for token in _tokens(sequence)])
    bound = int(len(x) / repeats)
    for period in range(1, min(bound, longest or bound) + 1):
        differs = np.flatnonzero(x[period:] != x[:-period])
        start = int(differs[-1]) + 1 if len(differs) else 0  # x[start:] has this period
        if (len(x) - start) / period >= repeats:
            return Loop(start, period, (len(x) - start) / period)
    return None


def non_termination(sequences: Iterable[Tokens], end: Hashable, limit: int) -> float:
    """r_nt(L): the share of sequences without ``end`` among their first ``limit`` tokens."""
    found = [end in _tokens(sequence)[:limit] for sequence in sequences]
    if not found:
        raise InputError("non_termination: no sequences were given, expected at least one")
    return 1 - sum(found) / len(found)


def entropy(log_p: Tensor) -> Tensor:
    """-sum p log p over the last dimension, in nats; what has no probability adds nothing."""
    return -(log_p.exp() * log_p).nan_to_num(0).sum(-1)


def information(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(-log p(token), entropy) at every position, in nats. logits: (..., vocabulary), the distribution from which
    ``tokens`` (...) came; their difference is what locally typical sampling keeps small."""
    log_p = logits.float().log_softmax(-1)
    return -log_p.gather(-1, tokens[..., None].long())[..., 0], entropy(log_p)


def entropy_band(logits: Tensor, tokens: Tensor, width: float = 1.0) -> float:
    """The share of tokens whose information lies within ``width`` nats of the entropy."""
    surprise, expected = information(logits, tokens)
    return float(torch.mean(((surprise - expected).abs() <= width).float()))
