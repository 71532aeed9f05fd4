"""Attention with linear biases:  score_tj = q_t . k_j / sqrt(head) - m (t - j),  m = 2^(-8 h / heads) for head h."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.mixers._entries import Seen
from seqmem.mixers._scored import ScoredAttention, dot_products


class AlibiAttention(ScoredAttention):
    """Softmax attention that knows distance by a penalty alone (Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation, 2021, arXiv 2108.12409).

    The slopes m fall geometrically from 2^(-8 / heads) to 2^-8 over the heads and are not trained; no rotation, no
    biases. The state is linear in the tokens read.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    def __init__(self, width: int, *, heads: int = 4) -> None:
        super().__init__(width, heads)

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """The dot products less the distances times the heads' slopes."""
        distance = seen.query_place[:, :, None] - seen.entries.place[:, None]  # (batch, time, entries)
        slopes = 2.0 ** (-8 * torch.arange(1, self.heads + 1, device=query.device) / self.heads)
        return dot_products(query, seen.entries.key) - slopes.to(query.dtype)[:, None, None] * distance[:, None]
