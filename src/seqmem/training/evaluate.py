"""What a model scores on data it has not trained on, by test length and slice."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqmem.tasks.base import IGNORE, Batch, Split, Task
from seqmem.training.seeds import generator

TOKENS_AT_ONCE = 16_384  # tokens per forward pass of an evaluation
DATA_SEED = 0  # every experiment on a task is judged on the same data, whatever its own seed


def asked_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (asked, vocab) and targets (asked,), of the positions where something is asked, row after row."""
    asked = batch.targets != IGNORE  # (batch, time)
    logits, _ = model.run(batch.inputs, asked=asked)  # type: ignore[operator]
    return logits, batch.targets[asked]


@torch.no_grad()
def score(
    model: nn.Module, task: Task, length: int, tokens: int, split: Split, tick: Callable[[], None] | None = None
) -> dict[str, float]:
    """The task's metric on about ``tokens`` tokens of ``split`` at this length: ``{"all": ..., slice: ...}``, slices
    that occur only.

    Accuracy is the share of asked positions answered rightly, as ``task.right`` says; bits per byte is the mean
    cross-entropy in bits over asked positions. ``tick`` is called before each batch.
    """
    examples = max(1, tokens // length)
    at_once = max(1, min(examples, TOKENS_AT_ONCE // length))
    totals: dict[str, list[float]] = {}
    was_training = model.training
    model.eval()
    try:
        for number, start in enumerate(range(0, examples, at_once)):
            if tick is not None:
                tick()
            source = generator(DATA_SEED, f"{split}/{length}", number)
            batch = task.sample(min(at_once, examples - start), length, source, split=split)
            logits, targets = asked_logits(model, batch)
            if task.metric == "accuracy":
                asked, said = batch.targets != IGNORE, torch.full_like(batch.targets, IGNORE)
                said[asked] = logits.argmax(-1)
                points = task.right(batch, said)[asked].double()  # (asked,)
            else:
                points = nn.functional.cross_entropy(logits.float(), targets, reduction="none").double() / math.log(2)
            _add(totals, "all", points)
            if batch.groups is not None:
                rows = (batch.targets != IGNORE).nonzero()[:, 0]  # (asked,) the row each point comes from
                groups = batch.groups[rows]
                for group, name in enumerate(task.slices):
                    _add(totals, name, points[groups == group])
    finally:
        model.train(was_training)
    return {name: total / count for name, (total, count) in totals.items()}


def better(task: Task, first: float, second: float) -> bool:
    """Whether ``first`` is the better value of the task's metric."""
    return first > second if task.metric == "accuracy" else first < second


def _add(totals: dict[str, list[float]], name: str, points: Tensor) -> None:
    if points.numel():
        entry = totals.setdefault(name, [0.0, 0.0])
        entry[0] += float(points.sum())
        entry[1] += points.numel()
