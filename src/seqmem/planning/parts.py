"""A language model in parts whose costs add up: one block of each kind, and what is around the blocks."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.state import State
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.models.block import Block


class Part(NamedTuple):
    """name: what it is, in a few words; layer: where a block of the kind is; None: what is around the blocks. copies:
    how many there are."""

    name: str
    layer: int | None
    copies: int


def parts(config: SequenceConfig) -> list[Part]:
    """A part for every kind of block, and one for the rest."""
    kinds: dict[str, list[int]] = {}
    for layer, spec in enumerate(config.layers):
        kinds.setdefault(json.dumps(spec, sort_keys=True), []).append(layer)
    named = Counter(config.mixer(layers[0])[0] for layers in kinds.values())
    found = []
    for layers in kinds.values():
        name, options = config.mixer(layers[0])
        told = f"{name} {options}" if named[name] > 1 and options else name
        found.append(Part(told, layers[0], len(layers)))
    return [*found, Part("around the blocks", None, 1)]


def build(config: SequenceConfig, part: Part) -> nn.Module:
    """A module of the part, with new weights."""
    if part.layer is not None:
        return Block(config, part.layer).train()
    fewer = copy.deepcopy(config)  # the model of one block of each kind, from which these are taken
    fewer.layers = list({json.dumps(spec, sort_keys=True): spec for spec in config.layers}.values())
    fewer.norm_eps = config.eps(len(config.layers))
    model = SequenceLM(fewer).train()
    model.layers = nn.ModuleList()
    return model


class Piece:
    """One training step of a part: ``batch`` rows of ``time`` positions. Calls give (output, its gradient, the new
    state)."""

    def __init__(self, config: SequenceConfig, part: Part, batch: int, time: int, dtype: torch.dtype) -> None:
        self.config, self.part, self.batch, self.time, self.dtype = config, part, batch, time, dtype

    def build(self) -> nn.Module:
        """The module in the dtype of its weights."""
        module = build(self.config, self.part)
        return nn.Module.to(module, torch.float64) if self.dtype is torch.float64 else module

    def run(self, module: nn.Module) -> tuple[Tensor, Tensor, State]:
        """The forward pass, from an empty state."""
        if self.part.layer is None:
            return self._around(module)
        weights = torch.float64 if self.dtype is torch.float64 else torch.float32
        rows = self.batch * self.config.perspectives
        x = torch.randn(rows, self.time, self.config.width, dtype=weights, requires_grad=torch.is_grad_enabled())
        y, state = module(x)
        return y, torch.ones_like(y), state

    def _around(self, module: Any) -> tuple[Tensor, Tensor, State]:
        ids = torch.randint(self.config.vocab_size, (self.batch, self.time))
        logits, states = module.run(ids)
        loss = next_token_loss(logits, ids)
        return loss, torch.ones_like(loss), states


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Every position foretells the next token; the last one foretells the first, so that all positions count."""
    return F.cross_entropy(logits.flatten(0, 1).float() if logits.dtype is torch.bfloat16 else logits.flatten(0, 1),
                           ids.roll(-1, 1).flatten())  # fmt: skip
