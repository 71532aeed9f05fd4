"""Sequences with a repeated segment, and small attention-only models trained on them: two papers look into these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.interp import ablate_heads
from seqmem.models import SequenceConfig, SequenceLM

VOCABULARY, LENGTH = 64, 64
SHORTEST, LONGEST = 8, 32  # of the segment


def repeats(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens (rows, 64), random but for one segment that comes twice; again (rows, 64) bool, True at those tokens of
    the second copy that can be known: all but its first."""
    tokens = torch.randint(VOCABULARY, (rows, LENGTH), generator=generator)
    size = torch.randint(SHORTEST, LONGEST + 1, (rows, 1), generator=generator)
    room = LENGTH - 2 * size
    gap = (torch.rand(rows, 1, generator=generator) * (room + 1)).long()  # between the copies
    first = (torch.rand(rows, 1, generator=generator) * (room - gap + 1)).long()
    place = torch.arange(LENGTH) - (first + size + gap)  # within the second copy
    inside = (place >= 0) & (place < size)
    source = torch.where(inside, first + place, torch.arange(LENGTH))
    return tokens.gather(1, source), inside & (place > 0)


def train(
    layers: int,
    steps: int,
    seed: int,
    watch: Callable[[int, SequenceLM], Any] = lambda step, model: None,
    width: int = 64,
) -> SequenceLM:
    """An attention-only model (4 heads, positions in queries and keys alone) after ``steps`` of AdamW at 1e-3 on
    batches of 64; ``watch(step, model)`` is called before each."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = SequenceConfig(vocab_size=VOCABULARY, width=width, layers=["attention"] * layers, mlp_width=0)
    model = SequenceLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    for step in range(steps):
        watch(step, model)
        tokens, _ = repeats(64, generator)
        loss = F.cross_entropy(model.run(tokens[:, :-1])[0].flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def second_copy_loss(model: SequenceLM, tokens: Tensor, again: Tensor) -> float:
    """Nats per token of the second copy (chance: log 64 = 4.16)."""
    logits = model(tokens[:, :-1]).logits
    return float(F.cross_entropy(logits[again[:, 1:]], tokens[:, 1:][again[:, 1:]]))


@torch.no_grad()
def gain_of(lm: Any, twice: Tensor) -> float:
    """Nats per token that tokens (batch, 2 n) cost less the second time; the first of each copy is left out."""
    loss = F.cross_entropy(lm(twice[:, :-1], use_cache=False).logits.mT, twice[:, 1:], reduction="none")
    half = twice.shape[1] // 2
    return float(loss[:, : half - 1].mean() - loss[:, half:].mean())


def share_lost(lm: Any, twice: Tensor, gain: float, heads: Iterable[Any]) -> float:
    """The share of ``gain`` that is lost without these heads (rows with ``layer`` and ``head``); NaN without a gain."""
    chosen: dict[int, list[int]] = {}
    for row in heads:
        chosen.setdefault(row.layer, []).append(row.head)
    with ablate_heads(lm, chosen):
        left = gain_of(lm, twice)
    return (gain - left) / gain if gain > 0 else float("nan")
