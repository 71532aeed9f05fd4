"""A speaker that turns a string into a few bits, and a listener that says from the bits what the string meant."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError


def binary_sample(logits: Tensor, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
    """Bits drawn with probability sigmoid(logits), 0 or 1, whose gradient is that of the relaxed sample
    sigmoid((logits + logistic noise) / temperature): straight through.

    Categorical Reparameterization with Gumbel-Softmax (2016), arXiv 1611.01144, for two classes.
    """
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + uniform.logit()) / temperature)
    return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())  # exactly 0 or 1


class SpeakerListener(nn.Module):
    """An autoencoder with a channel of ``bits`` binary variables between two LSTMs of ``hidden`` units (Capacity,
    Bandwidth, and Compositionality in Emergent Language Learning, 2019, arXiv 1910.11424):

        q(z | x) = prod_k Bernoulli(sigmoid(W_k h + b_k)),  h the speaker's LSTM after the string x
        p(y | z) = prod_i softmax(V g_i)_{y_i},  g_i the listener's LSTM, which reads the same map of z at every step

    x: (batch, time) tokens. y: (batch, ``answers``) tokens, what the listener is to say: the string's meaning in an
    order of its own, or the string itself. bits is the bandwidth, hidden the capacity.
    """

    def __init__(self, vocab_size: int, answers: int, *, bits: int = 8, hidden: int = 32, embedding: int = 16) -> None:
        super().__init__()
        if min(vocab_size, answers, bits, hidden, embedding) < 1:
            raise InputError(
                f"SpeakerListener: vocab_size {vocab_size}, answers {answers}, bits {bits}, hidden {hidden}, embedding "
                f"{embedding}; expected at least 1 of each"
            )
        self.answers, self.bits = answers, bits
        self.embed = nn.Embedding(vocab_size, embedding)
        self.speaker = nn.LSTM(embedding, hidden, batch_first=True)
        self.message = nn.Linear(hidden, bits)
        self.heard = nn.Linear(bits, embedding)
        self.listener = nn.LSTM(embedding, hidden, batch_first=True)
        self.say = nn.Linear(hidden, vocab_size)

    def speak(self, x: Tensor) -> Tensor:
        """Logits of the bits, (batch, bits)."""
        _, (h, _) = self.speaker(self.embed(x))
        return self.message(h[0])

    def listen(self, z: Tensor) -> Tensor:
        """Logits (batch, answers, vocab_size) from bits 0 or 1, (batch, bits)."""
        if z.ndim != 2 or z.shape[1] != self.bits:
            raise InputError(f"SpeakerListener: z has shape {tuple(z.shape)}, expected (batch, bits = {self.bits})")
        heard = self.heard(2 * z - 1)[:, None].expand(-1, self.answers, -1)
        return self.say(self.listener(heard)[0])

    @torch.no_grad()
    def code(self, x: Tensor) -> Tensor:
        """The most likely bits of each string, (batch, bits) of 0 and 1."""
        return (self.speak(x) > 0).long()

    @torch.no_grad()
    def understood(self, z: Tensor) -> Tensor:
        """What the listener says most likely, (batch, answers) tokens, from bits (batch, bits)."""
        return self.listen(z.to(self.say.weight.dtype)).argmax(-1)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        *,
        temperature: float = 1.0,
        prior: float | None = None,
    ) -> Tensor:
        """The loss: the answers' cross-entropy and, ``prior`` times, the bits' divergence from a coin, in nats per
        string. prior: default one over the factorial of ``answers``, as in the authors' code."""
        logits = self.speak(x)
        said = self.listen(binary_sample(logits, generator, temperature))
        wrong = F.cross_entropy(said.flatten(0, 1), y.flatten()) * self.answers
        p = torch.sigmoid(logits)
        divergence = p * F.logsigmoid(logits) + (1 - p) * F.logsigmoid(-logits) + math.log(2)
        weight = 1 / math.factorial(self.answers) if prior is None else prior
        return wrong + weight * divergence.sum(1).mean()
