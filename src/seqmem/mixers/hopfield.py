"""Modern Hopfield layer:  xi <- softmax(beta xi K^T) K, ``updates`` times,  y = W_o softmax(beta xi K^T) V."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._entries import Seen
from seqmem.mixers._scored import ScoredAttention
from seqmem.mixers._softmax import softmax_over


class Hopfield(ScoredAttention):
    """Retrieval from a continuous associative memory whose stored patterns are what was read (Hopfield Networks is All
    You Need, 2020, arXiv 2008.02217).

    Each head's state pattern xi begins as the query and moves ``updates`` times towards stored patterns (0: plain
    attention) before the values are read. ``beta``: the inverse temperature, default 1 / sqrt(head), trained per head
    when ``learned_beta``. State and stored patterns are normed in every head, as in the paper's layer. No positions.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    log_beta: Tensor

    def __init__(
        self, width: int, *, heads: int = 4, updates: int = 1, beta: float | None = None, learned_beta: bool = False
    ) -> None:
        super().__init__(width, heads)
        if updates < 0 or (beta is not None and beta <= 0):
            raise InputError(f"Hopfield: updates {updates} and beta {beta}, expected at least 0 and above 0")
        self.updates = updates
        start = torch.full((heads,), self.head**-0.5 if beta is None else float(beta)).log()
        if learned_beta:
            self.log_beta = nn.Parameter(start)
        else:
            self.register_buffer("log_beta", start)
        self.norms = nn.ModuleList(nn.LayerNorm(self.head) for _ in range(2))  # state pattern, stored patterns

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """beta xi . k_j after the updates."""
        stored = seen.entries.key.to(query.dtype)
        pattern = query
        for _ in range(self.updates):
            weights = softmax_over(self._similarity(pattern, stored), seen.allowed)
            pattern = torch.einsum("bhtj,bjhd->bthd", weights, stored)
        return self._similarity(pattern, stored)

    def _similarity(self, pattern: Tensor, stored: Tensor) -> Tensor:
        scale = self.log_beta.exp().to(pattern.dtype)[:, None, None]
        return scale * torch.einsum("bthd,bjhd->bhtj", pattern, stored)

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super()._projected(x)
        return self.norms[0](query), self.norms[1](key), value
