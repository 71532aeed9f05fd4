"""Transformer-XL:  score_tj = ((q_t + u) . k_j + (q_t + v) . W_r r_{t-j}) / sqrt(head),  r sinusoids."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._entries import Entries, Seen
from seqmem.mixers._rotary import sinusoids
from seqmem.mixers._scored import ScoredAttention, dot_products


class TransformerXLAttention(ScoredAttention):
    """Attention over a cache of the last ``window`` - 1 positions with relative position encodings (Transformer-XL:
    Attentive Language Models Beyond a Fixed-Length Context, 2019, arXiv 1901.02860).

    u and v are learned per head, content and position bias. The paper hands the cache from segment to segment without
    gradients: detach the state (:func:`seqmem.mixers.state.detach`) for that. Here every position sees the same number
    of positions before it, as in the paper's evaluation, so that segments may be cut anywhere.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    memory: ClassVar[str] = "constant"

    def __init__(self, width: int, *, window: int = 128, heads: int = 4) -> None:
        super().__init__(width, heads)
        if window < 1:
            raise InputError(f"TransformerXLAttention: window is {window!r}, expected at least 1")
        if width % 2:
            raise InputError(f"TransformerXLAttention: width is {width}, expected an even one (sines and cosines)")
        self.window, self.room = window, window - 1
        self.relative = nn.Linear(width, width, bias=False)  # W_r
        self.content_bias = nn.Parameter(torch.zeros(heads, self.head))  # u
        self.position_bias = nn.Parameter(torch.zeros(heads, self.head))  # v

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """Content and distance, each with its bias."""
        content = dot_products(query + self.content_bias, seen.entries.key)
        distance = (seen.query_place[:, :, None] - seen.entries.place[:, None]).clamp(0, self.window - 1)
        places = sinusoids(torch.arange(self.window, device=query.device), self.width, query)  # r_0 ... r_(window - 1)
        table = self.relative(places).unflatten(-1, (self.heads, self.head))  # (window, heads, head)
        by_distance = torch.einsum("bthd,rhd->bhtr", query + self.position_bias, table) * self.head**-0.5
        index = distance[:, None].expand(-1, self.heads, -1, -1)
        return content + by_distance.gather(3, index)

    def seen(self, seen: Seen) -> Tensor:
        """The last ``window`` positions."""
        return seen.allowed & (seen.query_place[:, :, None] - seen.entries.place[:, None] < self.window)

    def wanted(self, entries: Entries) -> Tensor:
        """What the next position reaches."""
        return entries.place > entries.position[:, None] - self.window
