"""An encoder and a decoder of any mixers, the decoder reading the encoder's outputs through an alignment.

Effective Approaches to Attention-based Neural Machine Translation (2015), arXiv 1508.04025, without input feeding, so
that a whole target is read at once in training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import get_mixer
from seqmem.mixers.state import State
from seqmem.models.alignment import Alignment


class AlignedSeq2Seq(nn.Module):
    """h = decoder(y, encoder's last state),  c = sum_i alpha_i(h) k_i,  logits = V tanh(W [c; h]).

    mixer: a mixer's name for both sides. alignment: an :class:`Alignment` of this width, or None: c is then the plain
    mean of the keys, whatever the query. vocab_size: tokens of both sides; one more stands for the beginning. Methods
    take ``mask`` (batch, keys) bool, False where the source is padding, which is neither read nor looked at.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 64,
        *,
        alignment: Alignment | None = None,
        mixer: str = "gru",
        **options: Any,
    ) -> None:
        super().__init__()
        if vocab_size < 1:
            raise InputError(f"vocab_size is {vocab_size}, expected at least 1")
        self.begin = vocab_size
        self.embed = nn.Embedding(vocab_size + 1, width)
        self.encoder: Any = get_mixer(mixer)(width, **options)
        self.decoder: Any = get_mixer(mixer)(width, **options)
        self.alignment = alignment
        self.join = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, vocab_size)

    def encode(self, source: Tensor, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """source (batch, keys) int64 -> keys (batch, keys, width) and the last state."""
        return self.encoder(self.embed(source), mask=mask)

    def step(
        self, tokens: Tensor, keys: Tensor, state: State, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Logits (batch, time, vocab_size) after each of the tokens (batch, time), the weights, and the state."""
        h, state = self.decoder(self.embed(tokens), state)
        if self.alignment is None:
            real = torch.ones_like(keys[..., 0]) if mask is None else mask.to(keys.dtype)
            weights = (real / real.sum(1, keepdim=True))[:, None].expand(-1, h.shape[1], -1)
        else:
            weights = self.alignment(h, keys, mask).weights  # (batch, time, keys)
        read = weights @ keys
        return self.out(torch.tanh(self.join(torch.cat([read, h], -1)))), weights, state

    def forward(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (batch, time, vocab_size) of every token of the target (batch, time), given those before it."""
        keys, state = self.encode(source, mask)
        first = torch.full_like(target[:, :1], self.begin)
        return self.step(torch.cat([first, target[:, :-1]], 1), keys, state, mask)[0]

    @torch.no_grad()
    def decode(self, source: Tensor, length: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The likeliest tokens one by one, (batch, length), and the weights (batch, length, keys)."""
        keys, state = self.encode(source, mask)
        token, said, seen = torch.full_like(source[:, :1], self.begin), [], []
        for _ in range(length):
            logits, weights, state = self.step(token, keys, state, mask)
            token = logits.argmax(-1)
            said.append(token)
            seen.append(weights)
        return torch.cat(said, 1), torch.cat(seen, 1)
