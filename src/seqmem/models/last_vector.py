"""An autoencoder around a language model: every token of a text, out of the vector at its end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.state import State
from seqmem.models.config import SequenceConfig
from seqmem.models.language_model import SequenceLM


class LastVectorDecoder(nn.Module):
    """``logits, states = model.run(tokens)``, as of a :class:`SequenceLM`, but the logits of position t are about the
    token *at* t, and come from the model's last vector h_T and the number t alone:

        logits_t = head(MLP(h_T + code(t))),  MLP(x) = gelu(W2 norm(gelu(W1 norm(x))))

    code(t) are fixed sines and cosines, so that any length can be read. The head is the language model's own.

    Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844, the decoder of its compression
    task.
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.model = SequenceLM(config)
        width = config.width
        self.decoder = nn.Sequential(
            nn.RMSNorm(width), nn.Linear(width, width), nn.GELU(), nn.RMSNorm(width), nn.Linear(width, width), nn.GELU()
        )
        for part in self.decoder:
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=width**-0.5)
                nn.init.zeros_(part.bias)

    def run(
        self, input_ids: Tensor, states: tuple[State, ...] | None = None, *, asked: Tensor | None = None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """input_ids (batch, time) -> logits (batch, time, vocab), or (asked, vocab) row after row with ``asked``
        (batch, time) bool; and the language model's states. Positions are counted from the beginning of
        ``input_ids``."""
        if input_ids.ndim != 2 or input_ids.shape[1] < 1:
            raise InputError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        lm = self.model
        *_, x, states = lm._read(lm.embed_tokens(input_ids), states, None, None)
        code = position_code(input_ids.shape[1], self.config.width).to(x)
        together = x[:, -1:] + code  # (batch, time, width)
        return lm._logits(self.decoder(together if asked is None else together[asked])), states


def position_code(time: int, width: int) -> Tensor:
    """(time, width): sines, then cosines, of t / 10000^(2 i / width). Attention Is All You Need (2017), arXiv
    1706.03762, section 3.5."""
    half = (width + 1) // 2
    angle = torch.arange(time)[:, None] * 10_000.0 ** (-torch.arange(half) / half)  # (time, half)
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]
