"""A memory of small windows of text around the words that could fill a gap, with attention that trains itself.

The Goldilocks Principle: Reading Children's Books with Explicit Memory Representations (2016), arXiv 1511.02301.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError

NONE = -1


class WindowReading(NamedTuple):
    """scores: (batch, memory), q . m, -inf where there is no memory. attention: (batch, memory), their softmax."""

    scores: Tensor
    attention: Tensor


class WindowMemoryNetwork(nn.Module):
    """For windows x_i of b words around mentions of candidates, and the window x_q around the gap,

        m_i = sum_p W_p x_ip        q = sum_p W_p x_qp        a = softmax_i(q . m_i)

    with an embedding matrix W_p of its own for every place p in the window, or one for all (``positions=False``, a bag
    of words). A candidate's score is the sum of a over its windows, or the largest (:meth:`choose`). Trained by
    :meth:`self_supervised`, from answers alone: nothing says which mention of the answer is the right one.

    vocab_size: word 0 is the blank, whose embedding is 0. window: b. generator: weights begin as normal numbers of
    standard deviation ``deviation``, drawn from it, else from the global state.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 32,
        *,
        window: int = 5,
        positions: bool = True,
        deviation: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"vocab_size": vocab_size, "width": width, "window": window}.items():
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        self.vocab_size, self.window, self.positions = vocab_size, window, positions
        self.words = nn.EmbeddingBag(vocab_size * (window if positions else 1) + 1, width, mode="sum", padding_idx=0)
        with torch.no_grad():
            self.words.weight.normal_(std=deviation, generator=generator)
            self.words.weight[0] = 0

    def embed(self, windows: Tensor) -> Tensor:
        """(..., window) words to (..., width)."""
        if windows.shape[-1] != self.window:
            raise InputError(f"windows have {windows.shape[-1]} words, expected {self.window}")
        if windows.numel() and not 0 <= int(windows.min()) <= int(windows.max()) < self.vocab_size:
            first, last = int(windows.min()), int(windows.max())
            raise InputError(f"windows hold words from {first} to {last}, expected 0 to {self.vocab_size - 1}")
        place = torch.arange(self.window, device=windows.device) * (self.vocab_size if self.positions else 0)
        rows = torch.where(windows == 0, 0, windows + place)
        return self.words(rows.flatten(0, -2)).unflatten(0, windows.shape[:-1])

    def forward(self, windows: Tensor, query: Tensor, centre: Tensor) -> WindowReading:
        """windows: (batch, memory, window) int64. query: (batch, window), 0 at the gap or a word of its own. centre:
        (batch, memory): the candidate that the window is around, -1 for no memory."""
        m, q = self.embed(windows), self.embed(query)  # (batch, memory, width), (batch, width)
        scores = torch.einsum("bmw,bw->bm", m, q).masked_fill(centre == NONE, -torch.inf)
        attention = scores.masked_fill(centre == NONE, torch.finfo(scores.dtype).min).softmax(1)
        return WindowReading(scores, attention.masked_fill(centre == NONE, 0))

    def self_supervised(self, reading: WindowReading, centre: Tensor, answer: Tensor) -> Tensor:
        """The loss: with m' the best of the windows around the answer and m~ the best of all, -log a(m') where they
        differ; 0 where they do not, or where no window is around the answer. A mean over the batch.

        answer: (batch,), the number of the right candidate.
        """
        right = centre == answer[:, None]
        best = reading.scores.masked_fill(~right, -torch.inf)
        wrong = (best.amax(1) < reading.scores.amax(1)) & right.any(1)
        if not wrong.any():
            return reading.scores.masked_fill(centre == NONE, 0).sum() * 0
        log_a = F.log_softmax(reading.scores[wrong], 1)
        return -log_a.gather(1, best[wrong].argmax(1, keepdim=True)).sum() / len(answer)

    def choose(self, reading: WindowReading, centre: Tensor, candidates: int, how: str = "sum") -> Tensor:
        """(batch, candidates): each one's score, the "sum" of the attention on its windows or the "max"; 0 for one that
        the context does not name."""
        if how not in ("sum", "max"):
            raise InputError(f"how is {how!r}, expected 'sum' or 'max'")
        reduce = {"sum": "sum", "max": "amax"}[how]
        zero = reading.attention.new_zeros(len(centre), candidates)
        return zero.scatter_reduce(1, centre.clamp(min=0), reading.attention, reduce)
