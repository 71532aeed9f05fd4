"""Words that are rotations: a language model without a nonlinearity before its softmax.

Assessing the Unitary RNN as an End-to-End Compositional Model of Syntax (2022), arXiv 2208.05719.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.unitary_rnn import UnitaryRNN, UnitaryRNNState


class UnitaryLM(nn.Module):
    """s_t = Q(word t) s_{t-1}, p(next word) = softmax(W s_t + b): every word of the vocabulary is one rotation.

    ``size``, ``rank``, ``rotation``: as in :class:`seqmem.mixers.unitary_rnn.UnitaryRNN`, which reads words one-hot.
    Exponentials are taken once per word and call, not per position.
    """

    def __init__(
        self,
        vocab_size: int,
        size: int = 32,
        *,
        rank: int | None = None,
        rotation: Literal["exponential", "cascade"] = "exponential",
    ) -> None:
        super().__init__()
        if vocab_size < 1:
            raise InputError(f"UnitaryLM: vocab_size is {vocab_size}, expected at least 1")
        self.vocab_size = vocab_size
        self.mixer = UnitaryRNN(vocab_size, size=size, rank=rank, rotation=rotation)

    def forward(self, input_ids: Tensor, state: UnitaryRNNState | None = None) -> tuple[Tensor, UnitaryRNNState]:
        """(logits (batch, time, vocab_size) about the word after each of input_ids (batch, time) int64, state)."""
        if input_ids.ndim != 2 or input_ids.shape[1] < 1:
            raise InputError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        s, state = self.mixer.turn(self.words()[input_ids], state)
        return self.mixer.out(s), state

    def words(self) -> Tensor:
        """The rotation of every word, (vocab_size, size, size)."""
        one_hot = torch.eye(self.vocab_size, dtype=self.mixer.out.weight.dtype, device=self.mixer.out.weight.device)
        return self.mixer.rotations(one_hot[None])[0]

    def phrase(self, input_ids: Tensor) -> Tensor:
        """The one rotation that each string of input_ids (batch, time) is: (batch, size, size)."""
        return self.mixer.phrase(F.one_hot(input_ids, self.vocab_size).to(self.mixer.out.weight.dtype))
