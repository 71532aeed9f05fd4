"""AdamW without decay on vectors, a linear warm-up followed by a cosine, and a bound on the gradient's norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def make_optimiser(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Matrices decay; norms, biases and other vectors do not, nor does a parameter marked ``_no_weight_decay = True``.

    Decoupled Weight Decay Regularization (2017), arXiv 1711.05101.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    kept = [p for p in parameters if p.ndim < 2 or getattr(p, "_no_weight_decay", False)]
    kept_ids = {id(p) for p in kept}
    decayed = [p for p in parameters if id(p) not in kept_ids]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=(0.9, 0.95), fused=True)


def learning_rate(step: int, peak: float, warmup: int, steps: int) -> float:
    """The rate of step ``step`` (from 0): up to ``peak`` in ``warmup`` steps, then down half a cosine that ends at 0
    after ``steps``.

    SGDR (2016), arXiv 1608.03983, without restarts.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def clip_gradients(gradients: list[Tensor], bound: float) -> float:
    """Scale the gradients so that their joint norm is at most ``bound``; returns the norm before.

    On the Difficulty of Training Recurrent Neural Networks (2012), arXiv 1211.5063.
    """
    norm = float(nn.utils.get_total_norm(gradients))
    if norm > bound:
        torch._foreach_mul_(gradients, bound / norm)
    return norm
