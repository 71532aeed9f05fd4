"""A document of any length, read in pieces with the memory carried on: how well is each of its tokens foreseen?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.families import layers_of, memory_of
from seqmem.mixers.state import state_bytes


class Piece(NamedTuple):
    """losses: (batch, tokens), -log p in nats of each token of this piece, given all before it. state_bytes: what the
    model remembers of one row then."""

    losses: Tensor
    state_bytes: int


def read_in_pieces(model: nn.Module, tokens: Tensor, *, piece: int = 1024) -> Iterator[Piece]:
    """The losses of ``tokens`` (batch, time), of all but the first, piece by piece.

    A constant memory needs constant room whatever the length; of the logits there is one piece at a time. For every
    family of :mod:`seqmem.interp`. Raises InputError for tokens that are none, and for learned positions that end.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2 or piece < 1:
        raise InputError(f"tokens has shape {tuple(tokens.shape)}, expected (batch, time >= 2), and piece {piece} >= 1")
    if (most := most_positions(model)) is not None and tokens.shape[1] - 1 > most:
        raise InputError(
            f"the text has {tokens.shape[1]} tokens, and this model's learned positions end at {most}; give a shorter "
            "text, or a model without learned positions"
        )
    count = len(layers_of(model))
    with torch.no_grad(), evaluating(model):
        memory = memory_of(model, tokens.shape[0])
        for start in range(0, tokens.shape[1] - 1, piece):
            read = tokens[:, start : min(start + piece, tokens.shape[1] - 1)]
            logits = memory.feed(read)  # (batch, piece, vocab)
            told = tokens[:, start + 1 : start + 1 + read.shape[1]]
            losses = F.cross_entropy(logits.mT.float(), told, reduction="none")
            yield Piece(losses, sum(state_bytes(memory.get(i)) for i in range(count)) // tokens.shape[0])


def loss_by_position(model: nn.Module, tokens: Tensor, *, piece: int = 1024) -> Tensor:
    """-log p of every token but the first, given all before it, (batch, time - 1), in nats.

    The text is read in pieces with the memory carried on, so that a constant memory needs constant room.
    """
    return torch.cat([part.losses for part in read_in_pieces(model, tokens, piece=piece)], 1)


def most_positions(model: nn.Module) -> int | None:
    """How many positions a model with learned ones has; None where no table of positions ends."""
    config = getattr(model, "config", None)
    if getattr(config, "model_type", None) == "gpt2":
        return int(config.n_positions)  # type: ignore[union-attr]
    table = getattr(model, "embed_positions", None)
    return None if table is None else int(table.num_embeddings)


def in_bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)
