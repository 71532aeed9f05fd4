"""Small models that learn a task within a check, and what they score on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.tasks.base import IGNORE, Batch, Task

Sample = Callable[[torch.Generator], Batch]


def learner(
    sample: Sample,
    vocab_size: int,
    layers: Sequence[str | Mapping[str, Any]],
    steps: int,
    seed: int,
    *,
    width: int = 64,
    mlp_width: int | None = None,
    short_conv: int = 4,
    rate: float = 3e-3,
    report: Callable[[int], None] = lambda step: None,
    prepare: Callable[[SequenceLM], None] | None = None,
    **options: Any,
) -> SequenceLM:
    """A SequenceLM trained on fresh batches of ``sample(generator)``, where these ask something. ``options`` go to its
    config; ``prepare(lm)`` is called before the first step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = SequenceConfig(
        vocab_size, width, layers=list(layers), mlp_width=mlp_width, short_conv=short_conv, **options
    )
    lm = SequenceLM(config)
    if prepare is not None:
        prepare(lm)

    def loss_of(_: int) -> Tensor:
        batch = sample(generator)
        asked = batch.targets != IGNORE
        return F.cross_entropy(lm.run(batch.inputs, asked=asked)[0], batch.targets[asked])

    descend(lm, loss_of, steps, rate, report)
    return lm.eval()


@torch.no_grad()
def accuracy(lm: SequenceLM, batch: Batch, rows: int = 64) -> float:
    """The share of what ``batch`` asks that the model answers rightly; ``rows`` examples are read at a time."""
    right = total = 0
    for inputs, targets in zip(batch.inputs.split(rows), batch.targets.split(rows), strict=True):
        asked = targets != IGNORE
        said = lm.run(inputs, asked=asked)[0].argmax(-1)
        right += int((said == targets[asked]).sum())
        total += len(said)
    return right / total


def of_task(task: Task, batch_size: int, length: int | None = None) -> Sample:
    """Training batches of a task, at its training length by default."""
    return lambda generator: task.sample(batch_size, length or task.train_length, generator)


def unseen(task: Task, count: int, seed: int, length: int | None = None) -> Batch:
    """``count`` test examples that no training of these seeds has drawn."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    return task.sample(count, length or task.train_length, generator, split="test")
