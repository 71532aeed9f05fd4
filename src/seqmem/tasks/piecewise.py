"""Coins that change: binary sequences whose bias is redrawn at hidden moments, and the predictors that are optimal.

Biases come from Beta(1/2, 1/2). Where they change is drawn from the partition-tree prior ("ptw": a block of 2^d is
split in half with probability 1/2, and so on), is a fixed period, or never happens.

Memory-Based Meta-Learning on Non-Stationary Distributions (2023), arXiv 2302.03067. Partition tree weighting: Partition
Tree Weighting (2013), arXiv 1211.0587.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError


class Coins(NamedTuple):
    """symbols: (batch, time) int64, 0 or 1; bias: (batch, time) float64, the probability of 1 at every step."""

    symbols: Tensor
    bias: Tensor


def _depth(time: int) -> int:
    depth = time.bit_length() - 1
    if time < 1 or 1 << depth != time:
        raise InputError(f"time is {time}, expected a power of two: the prior halves blocks")
    return depth


def sample_coins(
    batch_size: int, time: int, generator: torch.Generator, *, changes: str = "ptw", period: int = 20
) -> Coins:
    """``batch_size`` sequences of ``time`` symbols. changes: "ptw" (time a power of two), "regular" (every ``period``
    steps) or "never"."""
    begins = torch.zeros(batch_size, time, dtype=torch.bool)
    begins[:, 0] = True
    if changes == "ptw":
        whole = torch.ones(batch_size, 1, dtype=torch.bool)  # blocks that exist at this depth
        for level in range(1, _depth(time) + 1):
            split = whole & (torch.rand(whole.shape, generator=generator) < 0.5)
            whole = split.repeat_interleave(2, 1)
            length = time >> level
            begins[:, ::length] |= whole
    elif changes == "regular":
        begins[:, ::period] = True
    elif changes != "never":
        raise InputError(f"changes is {changes!r}, expected 'ptw', 'regular' or 'never'")
    # Beta(1/2, 1/2) is the law of sin^2 of a uniform angle
    fresh = torch.sin(torch.rand(batch_size, time, generator=generator, dtype=torch.float64) * math.pi / 2) ** 2
    latest = torch.where(begins, torch.arange(time), 0).cummax(1).values
    bias = fresh.gather(1, latest)
    symbols = (torch.rand(batch_size, time, generator=generator, dtype=torch.float64) < bias).long()
    return Coins(symbols, bias)


def log_loss(probability_of_one: Tensor, symbols: Tensor) -> Tensor:
    """-log of the probability given to each symbol, in nats; (batch, time)."""
    return -torch.where(symbols == 1, probability_of_one, 1 - probability_of_one).log()


def kt_predictions(symbols: Tensor) -> Tensor:
    """The Krichevsky-Trofimov estimator, optimal where nothing changes: the probability of 1 at every step given what
    came before, (ones + 1/2) / (n + 1); (batch, time) float64."""
    ones = symbols.cumsum(1) - symbols
    return (ones + 0.5) / (torch.arange(symbols.shape[1], dtype=torch.float64) + 1)


def kt_log_probability(symbols: Tensor) -> Tensor:
    """log KT(x) of whole sequences (..., time): the sum of the estimator's log-probabilities; (...)."""
    flat = symbols.reshape(symbols.shape[:-1].numel(), symbols.shape[-1])
    return -log_loss(kt_predictions(flat), flat).sum(1).view(symbols.shape[:-1])


def ptw_log_probability(symbols: Tensor) -> Tensor:
    """log PTW_d(x) of whole blocks (..., 2^d) by its definition,
    PTW_d(x) = 1/2 KT(x) + 1/2 PTW_{d-1}(first half) PTW_{d-1}(second half), PTW_0 = KT; (...)."""
    half = symbols.shape[-1] // 2
    whole = kt_log_probability(symbols)
    if _depth(symbols.shape[-1]) == 0:
        return whole
    halves = ptw_log_probability(symbols[..., :half]) + ptw_log_probability(symbols[..., half:])
    return torch.logaddexp(whole, halves) - math.log(2)


def ptw_predictions(symbols: Tensor) -> Tensor:
    """Partition tree weighting, optimal on its prior: the probability of 1 at every step given what came before;
    (batch, time) float64, time a power of two. Online, in O(log time) per step.

    For every depth it keeps the counts of the unfinished block at that depth and the weight of its finished first half.
    """
    batch, time = symbols.shape
    depth = _depth(time)
    counts = torch.zeros(depth + 1, batch, 2, dtype=torch.float64)  # of zeros and ones in the block of size 2^level
    kt = torch.zeros(depth + 1, batch, dtype=torch.float64)  # log KT of that block so far
    first = torch.zeros(depth + 1, batch, dtype=torch.float64)  # log PTW of its first half, once that is finished
    predictions = []
    for t in range(time):
        # blocks that begin here: those whose size divides t
        for level in range(depth + 1):
            if t % (1 << level) == 0:
                counts[level], kt[level], first[level] = 0, 0, 0
        both = []
        for symbol in (0, 1):
            added = torch.log((counts[..., symbol] + 0.5) / (counts.sum(-1) + 1))
            both.append(_mixed(kt + added, first, t, depth)[depth])
        after = torch.stack(both)  # (2, batch): log PTW with this symbol appended
        predictions.append((after[1] - torch.logaddexp(after[0], after[1])).exp())
        x = symbols[:, t]
        kt = kt + torch.log(
            (counts.gather(-1, x.expand(depth + 1, batch)[..., None])[..., 0] + 0.5) / (counts.sum(-1) + 1)
        )
        counts.scatter_add_(
            -1, x.expand(depth + 1, batch)[..., None], torch.ones(depth + 1, batch, 1, dtype=torch.float64)
        )
        weights = _mixed(kt, first, t, depth)
        for level in range(1, depth + 1):
            if (t + 1) % (1 << level) == 1 << (level - 1):  # the first half of this block ends here
                first[level] = weights[level - 1]
    return torch.stack(predictions, 1)


def _mixed(kt: Tensor, first: Tensor, t: int, depth: int) -> list[Tensor]:
    """log PTW of the unfinished block at every level, after step t: an unfinished block's missing part counts 1."""
    weights = [kt[0]]
    for level in range(1, depth + 1):
        in_second = (t % (1 << level)) >= 1 << (level - 1)
        halves = first[level] + weights[-1] if in_second else weights[-1]
        weights.append(torch.logaddexp(kt[level], halves) - math.log(2))
    return weights
