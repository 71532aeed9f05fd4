"""The model with its loss, as one module: what data parallelism and sharding wrap."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.state import State, detach
from seqmem.models import SequenceLM


class Learner(nn.Module):
    """``loss, memory = learner(inputs, targets, memory, reset)``."""

    _no_split_modules = ["Block"]  # noqa: RUF012 - where accelerate shards

    def __init__(self, model: SequenceLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: Tensor, targets: Tensor, memory: tuple[State, ...] | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """The sum of -log p over all targets, in nats, and the memory after the last input, without its history.

        inputs, targets: (batch, window) int64, -100 where nothing is asked. memory: as of an earlier call; None: empty.
        reset: (batch, window) bool, True where a document begins.
        """
        asked = targets >= 0
        logits, memory = self.model.run(inputs, memory, reset=reset, asked=asked)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits, targets[asked], reduction="sum")
        return loss, detach(memory)


def recompute_activations(model: Any, options: dict[str, Any] | None = None) -> None:
    """Keep the input of every layer alone, and compute the rest again on the way back."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options)
