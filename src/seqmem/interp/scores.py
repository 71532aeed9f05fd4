"""What a head attends to, on sequences made for the question; the same measure for attention and recurrence.

Implicit weights are compared as |weight| divided by the sum of its row, so that every row is a distribution over what
was read, as softmax attention's is. Beside each score stands what uniform attention over the past would get.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError, did_you_mean
from seqmem.interp.attention import reduced_attention
from seqmem.interp.copying import copying_scores
from seqmem.interp.families import layers_of

PROBES = {
    "induction": "attention to the token after the previous occurrence of the present one",
    "previous-token": "attention to the token before",
    "duplicate-token": "attention to the previous occurrence of the present token",
    "retrieval": "share of a needle's tokens, while it is copied, whose source gets the largest weight",
    "copying": "sum of eigenvalues over sum of their sizes, of the path from a token through the head to the logits",
}


class HeadScore(NamedTuple):
    """One row: ``chance`` is the score of a head that attends uniformly to everything read so far."""

    layer: int
    head: int
    score: float
    chance: float


class Probe(NamedTuple):
    """tokens: (batch, time). At reading positions ``rows``, the positions ``columns`` are looked for, both (pairs,)."""

    tokens: Tensor
    rows: Tensor
    columns: Tensor


def score_heads(
    model: nn.Module,
    probe: str,
    *,
    length: int = 32,
    batch_size: int = 4,
    layers: Iterable[int] | None = None,
    null: bool = False,
    generator: torch.Generator | None = None,
) -> list[HeadScore]:
    """One :class:`HeadScore` per head (per channel where a recurrence has no heads), bottom layer first.

    probe: a name of :data:`PROBES`. induction, duplicate-token: ``length`` random tokens, twice (In-context Learning
    and Induction Heads, 2022, arXiv 2209.11895: prefix matching); previous-token: the same sequence; retrieval: a
    needle of random tokens within ``length`` random tokens, at the end its first token again and then its copy
    (Retrieval Head Mechanistically Explains Long-Context Factuality, 2024, arXiv 2404.15574); copying: from the weights
    alone. Tokens are drawn without repetition from the whole vocabulary, by ``generator`` (default: seed 0), so that
    nothing but the plan repeats. null: the second time other tokens are drawn, so that what is left of a score is due
    to positions alone; not for copying. InputError where a layer has no exact attention (give ``layers=``), or a
    vocabulary is too small.
    """
    if probe not in PROBES:
        raise InputError(f"unknown probe '{probe}'.{did_you_mean(probe, PROBES)} Probes: {', '.join(PROBES)}")
    count = len(layers_of(model))
    chosen = list(range(count)) if layers is None else list(layers)
    if probe == "copying":
        if null:
            raise InputError("copying is a score of weights and has no null; leave null out")
        return [
            HeadScore(layer, head, score, 0.0)
            for layer, scores in copying_scores(model, chosen).items()
            for head, score in enumerate(scores.tolist())
        ]
    plan = make_probe(model, probe, length, batch_size, generator or torch.Generator().manual_seed(0), null)
    rows, columns = plan.rows, plan.columns

    def measure(weights: Tensor) -> Tensor:
        """(batch, heads, time, time) -> (heads,)."""
        if probe == "retrieval":
            row = weights[:, :, rows].abs()
            top, where = row.max(-1)
            return ((where == columns) & (top > 0)).float().mean((0, 2))
        return normalised(weights[:, :, rows])[:, :, torch.arange(len(rows)), columns].mean((0, 2))

    found = reduced_attention(model, plan.tokens, measure, 0, layers=chosen)
    chance = (1.0 / (rows + 1)).mean().item()
    return [
        HeadScore(layer, head, score, chance) for layer in chosen for head, score in enumerate(found[layer].tolist())
    ]


def normalised(weights: Tensor) -> Tensor:
    """|weights| with rows that sum to 1; a row of zeros stays zero."""
    size = weights.abs()
    total = size.sum(-1, keepdim=True)
    return size / total.masked_fill(total == 0, 1)


def make_probe(
    model: Any, probe: str, length: int, batch_size: int, generator: torch.Generator, null: bool = False
) -> Probe:
    """The sequences of a probe, and which weights it is about; with ``null`` nothing in them repeats on purpose."""
    if length < 4 or batch_size < 1:
        raise InputError(f"length is {length} and batch_size {batch_size}, expected at least 4 and 1")
    vocabulary = model.config.vocab_size
    if vocabulary < length:
        raise InputError(f"the vocabulary has {vocabulary} tokens, too few for length {length}; give a smaller length")
    device = next(model.parameters()).device

    def draw() -> Tensor:
        rows = [torch.randperm(vocabulary, generator=generator)[:length] for _ in range(batch_size)]
        return torch.stack(rows).to(device)

    drawn = draw()
    again = draw() if null else drawn
    time = torch.arange(length, 2 * length, device=device)
    if probe == "retrieval":
        size = length // 4
        start = int(torch.randint(1, length - size, (), generator=generator))
        needle = torch.arange(start, start + size, device=device)
        tokens = torch.cat([drawn, again[:, needle[:-1]]], 1)
        rows = torch.arange(length, tokens.shape[1], device=device)  # reading needle[i] again, about to say needle[i+1]
        return Probe(tokens, rows, needle[1:])
    twice = torch.cat([drawn, again], 1)
    if probe == "previous-token":
        rows = torch.arange(1, 2 * length, device=device)
        return Probe(twice, rows, rows - 1)
    return Probe(twice, time, time - length + (1 if probe == "induction" else 0))
