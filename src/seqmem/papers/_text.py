"""Small language models of bytes, trained within a check on the novel inside the package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.decoding import information
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.tasks.bytes import Bytes


def descend(
    model: torch.nn.Module,
    loss_of: Callable[[int], Tensor],
    steps: int,
    rate: float,
    report: Callable[[int], None] = lambda step: None,
    *,
    last: float = 0.1,
    groups: Sequence[dict[str, Any]] | None = None,
) -> None:
    """``steps`` of AdamW on ``loss_of(step)``, with warm-up, a cosine to the share ``last`` of the rate, and the
    gradient's norm at most 1. groups: of parameters with options of their own."""
    optimiser = torch.optim.AdamW(model.parameters() if groups is None else groups, rate, weight_decay=0.01)
    warmup = max(1, steps // 20)

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warmup) * ((1 + last) / 2 + (1 - last) / 2 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    for step in range(steps):
        loss = loss_of(step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        report(step)


def byte_model(
    layers: Sequence[str],
    width: int,
    steps: int,
    seed: int,
    *,
    length: int = 128,
    batch: int = 16,
    rate: float = 4e-3,
    report: Callable[[int], None] = lambda step: None,
) -> SequenceLM:
    """A SequenceLM over bytes, trained on random windows of the training part."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    text = Bytes()
    lm = SequenceLM(SequenceConfig(vocab_size=256, width=width, layers=list(layers), short_conv=4))

    def loss_of(_: int) -> Tensor:
        drawn = text.sample(batch, length, generator)
        return F.cross_entropy(lm.run(drawn.inputs)[0].flatten(0, 1), drawn.targets.flatten())

    descend(lm, loss_of, steps, rate, report)
    return lm.eval()


def nats(model: Any, tokens: Tensor) -> Tensor:
    """-log p of every token but the first under any causal LM, (batch, time - 1)."""
    with torch.no_grad():
        return information(model(tokens[:, :-1]).logits, tokens[:, 1:])[0]


def words(tokens: Tensor) -> list[bytes]:
    """The words of a row of bytes; the last, which may be cut off, is left out."""
    return bytes(tokens.tolist()).split()[:-1]


def continued(model: Any, prompts: Tensor, length: int, processors: Sequence[Any] = (), **options: Any) -> Tensor:
    """Prompts (batch, time) and ``length`` more tokens, through ``generate`` with these logits processors."""
    from transformers import LogitsProcessorList

    return model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=length,
        min_new_tokens=length,
        pad_token_id=0,
        logits_processor=LogitsProcessorList(processors),
        **options,
    )
