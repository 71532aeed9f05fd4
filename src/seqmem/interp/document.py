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


LEARNED = ("positions", "n_positions")  # what configs call the size of a table of positions
DECLARED = (*LEARNED, "max_position_embeddings")  # and the longest text of those that compute positions


def most_positions(model: nn.Module, names: tuple[str, ...] = LEARNED) -> int | None:
    """How many tokens a model can read by the first of these ``names`` that its config has; None: any number."""
    config = getattr(model, "config", None)
    return next((int(most) for name in names if (most := getattr(config, name, None))), None)


def in_bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)
