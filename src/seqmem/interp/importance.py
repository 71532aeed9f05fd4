"""How much a model's loss depends on each head, and which heads matter least (Are Sixteen Heads Really Better than
One?, 2019, arXiv 1905.10650).

Each head's contribution is multiplied by xi_h = 1; its importance is I_h = mean over examples of |dL/dxi_h|, which is
|sum over positions and channels of out_h * dL/dout_h|.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.families import layers_of
from seqmem.interp.heads import ablate_heads
from seqmem.interp.hooks import record


class HeadImportance(NamedTuple):
    """importance: nats per token and unit of xi, the mean over examples of its size. scaled: the same divided by the
    Euclidean norm of its layer."""

    layer: int
    head: int
    importance: float
    scaled: float


def head_importance(
    model: Any, batches: Iterable[Any], loss: Callable[[Any, Any], Tensor], *, layers: Iterable[int] | None = None
) -> list[HeadImportance]:
    """One row per head (per channel where a recurrence has none), bottom layer first.

    batches: whatever ``loss(model, batch)`` takes; it returns one number per example, (batch,), in the order of the
    batch's rows. One forward and one backward pass per batch, and no step of any optimiser. InputError for a loss of
    another shape, no batch, and a layer without heads.
    """
    found = layers_of(model)
    chosen = list(range(len(found))) if layers is None else list(layers)
    names = {layer: f"layers.{layer}.heads.out" for layer in chosen}
    total: dict[int, Tensor] = {}
    examples = 0
    with evaluating(model):
        for batch in batches:
            with torch.enable_grad(), record(model, names.values()) as trace:
                value = loss(model, batch)
                outputs = [trace[name] for name in names.values()]  # (batch, time, heads, head) each
                if value.ndim != 1 or len(value) != len(outputs[0]):
                    count = len(outputs[0])
                    raise InputError(
                        f"loss gives shape {tuple(value.shape)}, expected one number for each of {count} examples"
                    )
                slopes = torch.autograd.grad(value.sum(), outputs)
            for layer, output, slope in zip(chosen, outputs, slopes, strict=True):
                sizes = (output * slope).sum((1, 3)).abs().sum(0)  # (heads,)
                total[layer] = total.get(layer, torch.zeros_like(sizes)) + sizes.detach()
            examples += len(value)
    if not examples:
        raise InputError("no batch was given; importance needs at least one")
    rows = []
    for layer in chosen:
        mean = total[layer].double() / examples
        scaled = mean / mean.norm().clamp_min(1e-300)
        rows += [HeadImportance(layer, h, float(mean[h]), float(scaled[h])) for h in range(len(mean))]
    return rows


def without_least(rows: Iterable[HeadImportance], share: float) -> Mapping[int, list[int]]:
    """``{layer: heads}``: the ``share`` of all heads with the least scaled importance, for :func:`ablate_heads`."""
    rows = list(rows)
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}, expected a number from 0 to 1")
    chosen: dict[int, list[int]] = {}
    for row in sorted(rows, key=lambda row: row.scaled)[: round(share * len(rows))]:
        chosen.setdefault(row.layer, []).append(row.head)
    return chosen


@torch.no_grad()
def single_ablations(
    model: Any, batches: Iterable[Any], loss: Callable[[Any, Any], Tensor], rows: Iterable[HeadImportance]
) -> list[float]:
    """For each head of ``rows``, the mean loss without it minus the mean loss with all: the slow truth."""
    batches = list(batches)

    def mean() -> float:
        return float(torch.cat([loss(model, batch) for batch in batches]).mean())

    with evaluating(model):
        whole, rises = mean(), []
        for row in rows:
            with ablate_heads(model, {row.layer: [row.head]}):
                rises.append(mean() - whole)
    return rises
